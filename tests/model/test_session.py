"""Sessions: checked graphs, stated shapes, finite answers."""

import numpy as np
import pytest

import hostile_bundles
from kellgren.errors import BadBundle
from kellgren.model import graph
from kellgren.model.session import Session, fits


def ones(**shapes):
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def test_a_session_says_its_shapes_and_answers():
    session = Session(hostile_bundles.graph(), threads=2)
    assert session.inputs == {"joint": (None, 1, 64, 64)}
    assert session.outputs == {"logits_KL": (None, 5), "embedding": (None, 1)}
    (logits,) = session.run(["logits_KL"], ones(joint=(2, 1, 64, 64)))
    np.testing.assert_allclose(logits, np.repeat(hostile_bundles.WEIGHTS, 2, axis=0), atol=1e-6)


def test_a_wrong_input_is_the_bundles_error():
    session = Session(hostile_bundles.graph(), name="g.onnx", path="there")
    for inputs in (ones(joint=(1, 1, 32, 64)), ones(other=(1, 1, 64, 64)), {}):
        with pytest.raises(BadBundle, match=r"there: g\.onnx does not run"):
            session.run(["logits_KL"], inputs)


def test_infinity_is_no_answer():
    session = Session(hostile_bundles.graph())
    with pytest.raises(BadBundle, match="not finite"):
        session.run(["logits_KL"], {"joint": np.full((1, 1, 64, 64), np.inf, np.float32)})


@pytest.mark.parametrize(
    ("shape", "expected", "fitting"),
    [((2, 5), (None, 5), True), ((2, 6), (None, 5), False), ((2,), (None, 5), False), ((), (), True)],
)
def test_shapes_fit(shape, expected, fitting):
    assert fits(shape, expected) is fitting


def test_attributes_within_bounds_are_taken():
    pool = hostile_bundles.node(
        "MaxPool",
        ["joint"],
        ["x"],
        hostile_bundles.attribute("kernel_shape", ints=[2, 2]),
        hostile_bundles.attribute("strides", ints=[2, 2]),
    )
    mean = hostile_bundles.node("GlobalAveragePool", ["x"], ["pooled"])
    graph.check(hostile_bundles.graph(nodes=[pool, mean]))
    Session(hostile_bundles.graph(nodes=[pool, mean]))


def test_whole_numbers_are_not_divided_by_zero():
    zero = hostile_bundles.tensor("zero", (1,), bytes(8), hostile_bundles.INT64)
    divide = hostile_bundles.node("Div", ["joint", "zero"], ["pooled"])
    with pytest.raises(BadBundle, match="by zero"):
        graph.check(hostile_bundles.graph(nodes=[divide], more=[zero]))
