"""Orientation, test-time looks, temperature and maps, with a network whose numbers are known by hand."""

import numpy as np
import pytest

import stub_bundle
from kellgren.errors import BadBundle
from kellgren.model import bundle
from kellgren.model.calibrators import softmax
from kellgren.model.predict import Model, oriented_tasks
from kellgren.model.tta import Look
from stub_bundle import card

LEFT_BRIGHT = np.zeros((64, 64), np.uint16)
LEFT_BRIGHT[:, :32] = 65535
"""What the stub takes for a right knee: l = 1, r = 0."""

RIGHT_BRIGHT = LEFT_BRIGHT[:, ::-1].copy()
"""The same knee mirrored, a left one: l = 0, r = 1."""


@pytest.fixture
def model(tmp_path, stub_session):
    def make(certainty=4.0, arrays=None, **changes):
        stub_session.certainty = certainty
        folder = stub_bundle.write_bundle(tmp_path, card(**changes))
        if arrays is not None:
            np.savez(folder / "typical.npz", **arrays)
        return Model(bundle.load(folder))

    return make


def logits(probabilities):
    """Logits up to their mean."""
    log = np.log(probabilities)
    return log - log[0]


def test_plain_view_of_a_right_knee(model, stub_session):
    prediction = model().predict(LEFT_BRIGHT, "R")
    np.testing.assert_allclose(logits(prediction.probabilities["FL"]), [0, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(logits(prediction.probabilities["FM"]), [0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(prediction.probabilities["KL"], softmax([1, 0, 3, 0, 0]), atol=1e-6)
    assert prediction.side == "R"
    assert prediction.side_agreement == pytest.approx(1 / (1 + np.exp(-4)))
    assert prediction.distance is None
    assert prediction.maps == {}
    assert [i.shape for i in stub_session.seen] == [(1, 1, 64, 64)]


def test_a_left_knee_is_mirrored_before_it_is_seen(model, stub_session):
    graded = model()
    right, left = graded.predict(LEFT_BRIGHT, "R"), graded.predict(RIGHT_BRIGHT, "L")
    np.testing.assert_array_equal(stub_session.seen[0], stub_session.seen[1])
    for task in right.probabilities:
        np.testing.assert_array_equal(right.probabilities[task], left.probabilities[task])
    assert left.side == "L"
    assert left.side_agreement == right.side_agreement


def test_flipped_view_exchanges_lateral_and_medial(model, stub_session):
    prediction = model(tta=["flip"]).predict(LEFT_BRIGHT, "R")
    (seen,) = stub_session.seen
    np.testing.assert_array_equal(seen[1], seen[0][..., ::-1])
    # plain: FL [0 1 0 0], FM 0; flipped (l = 0, r = 1): FL 0, FM [0 0 2 0], which is this knee's FL
    np.testing.assert_allclose(logits(prediction.probabilities["FL"]), [0, 0.5, 1, 0], atol=1e-6)
    np.testing.assert_allclose(logits(prediction.probabilities["FM"]), [0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(prediction.probabilities["KL"], softmax([0.5, 0.5, 3, 0, 0]), atol=1e-6)
    # SIDE: plain [4 0]; flipped [-4 0], whose classes change places: [0 -4]; mean [2 -2]
    assert prediction.side_agreement == pytest.approx(1 / (1 + np.exp(-4)))


@pytest.mark.parametrize("tta", [[], ["flip", "framing"]])
@pytest.mark.parametrize(("pixels", "right"), [(LEFT_BRIGHT, 4.0), (RIGHT_BRIGHT, -4.0)])
def test_the_side_costs_one_look(model, stub_session, tta, pixels, right):
    graded = model(tta=tta)
    assert graded.side(pixels) == pytest.approx(1 / (1 + np.exp(-right)))
    assert [images.shape for images in stub_session.seen] == [(1, 1, 64, 64)]


def test_the_side_is_calibrated(model):
    calibration = {"temperature": {"SIDE": 2.0}, "conformal": {}}
    assert model(calibration=calibration).side(LEFT_BRIGHT) == pytest.approx(1 / (1 + np.exp(-2)))


def test_without_a_convention_there_is_no_side(model, stub_session):
    assert model(side_convention="none").side(LEFT_BRIGHT) is None
    assert stub_session.seen == []


def test_a_crop_of_unknown_side_is_seen_as_it_was_cut(model, stub_session):
    prediction = model().predict(RIGHT_BRIGHT, None)
    assert prediction.side is None
    assert prediction.side_agreement == pytest.approx(1 / (1 + np.exp(4)))
    np.testing.assert_array_equal(stub_session.seen[0][0, 0], RIGHT_BRIGHT / 65535)


def test_wrong_name_gives_little_agreement(model):
    prediction = model().predict(LEFT_BRIGHT, "L")
    assert prediction.side == "L"
    assert prediction.side_agreement == pytest.approx(1 / (1 + np.exp(4)))


def test_without_a_convention_nothing_is_mirrored(model, stub_session):
    graded = model(side_convention="none")
    assert graded.predict(RIGHT_BRIGHT, "L").side == "L"
    assert graded.predict(RIGHT_BRIGHT, None).side is None
    np.testing.assert_array_equal(stub_session.seen[0], stub_session.seen[1])
    assert stub_session.seen[0][0, 0, 0, 0] == 0


def test_temperature_divides_the_mean_logits(model):
    calibration = {"temperature": {"KL": 2.0}, "conformal": {}}
    prediction = model(calibration=calibration, tta=["flip"]).predict(LEFT_BRIGHT, "R")
    np.testing.assert_allclose(prediction.probabilities["KL"], softmax([0.25, 0.25, 1.5, 0, 0]), atol=1e-6)
    np.testing.assert_allclose(logits(prediction.probabilities["FL"]), [0, 0.5, 1, 0], atol=1e-6)


def test_a_dirichlet_map_mixes_the_mean_logits(model):
    weights, bias = np.eye(5), np.zeros(5)
    weights[0, 2], bias[4] = 0.5, 9.0
    stored = {"KL": {"weights": weights.tolist(), "bias": bias.tolist()}}
    calibration = {"temperature": {}, "dirichlet": stored, "conformal": {}}
    prediction = model(calibration=calibration, tta=["flip"]).predict(LEFT_BRIGHT, "R")
    log_p = np.log(softmax([0.5, 0.5, 3.0, 0, 0]))
    expected = softmax(log_p + np.array([0.5 * log_p[2], 0, 0, 0, 9.0]))
    np.testing.assert_allclose(prediction.probabilities["KL"], expected, atol=1e-6)
    assert expected.argmax() == 4


def test_oa_from_the_head_or_from_kl(model):
    head = model().predict(LEFT_BRIGHT, "R").probabilities["OA"]
    np.testing.assert_allclose(head, softmax([0, 1]), atol=1e-6)
    prediction = model(oa_from="sum").predict(LEFT_BRIGHT, "R")
    kl = softmax([1, 0, 3, 0, 0])
    np.testing.assert_allclose(prediction.probabilities["OA"], [kl[:2].sum(), kl[2:].sum()], atol=1e-6)


@pytest.mark.parametrize("tta", [[], ["flip"]])
@pytest.mark.parametrize(
    ("pixels", "side", "expected"),
    [(LEFT_BRIGHT, "R", [1, 0]), (RIGHT_BRIGHT, "L", [0, 1]), (RIGHT_BRIGHT, None, [0, 1])],
)
def test_maps_lie_in_the_crops_own_orientation(model, tta, pixels, side, expected):
    prediction = model(tta=tta).predict(pixels, side, maps=True)
    assert prediction.maps["KL"].shape == (5, 1, 2)
    # the stub's maps of FM are twice as strong; the flipped look has them as FL
    strength = {"FL": 1.5, "FM": 1.5} if tta else {"FL": 1, "FM": 2}
    for task, heat in prediction.maps.items():
        values = np.array([expected]) * strength.get(task, 1)
        np.testing.assert_allclose(heat, np.broadcast_to(values, heat.shape), atol=1e-6, err_msg=task)


def test_distance_by_hand(model):
    arrays = {
        "mean": np.zeros(2, np.float32),
        "components": np.array([[1.0, 0.0]], np.float16),
        "variances": np.array([4.0], np.float32),
        "residual": np.array([0.5]),
    }
    # embedding [1 0]: 1/4 along the component, over two dimensions
    assert model(arrays=arrays).predict(LEFT_BRIGHT, "R").distance == pytest.approx(0.125)
    # and of the flipped view [0 1]: 1/0.5 outside of it
    assert model(arrays=arrays, tta=["flip"]).predict(LEFT_BRIGHT, "R").distance == pytest.approx(0.5625)


def test_grey_is_repeated_for_three_channels(model):
    entry = {**stub_bundle.CARD["inputs"][0], "channels": 3}
    tensor = model(inputs=[entry]).tensors(LEFT_BRIGHT, Look(mirrored=False))["joint"]
    assert tensor.shape == (1, 3, 64, 64)
    np.testing.assert_array_equal(tensor[0, 0], tensor[0, 2])


def test_steps_that_give_another_size_are_refused(model):
    entry = {**stub_bundle.CARD["inputs"][0], "size": [64, 32]}
    with pytest.raises(BadBundle, match=r"input 'joint' give \(64, 64\), the card says \(64, 32\)"):
        model(inputs=[entry]).predict(LEFT_BRIGHT, "R")


def test_oriented_tasks_are_those_that_a_mirror_renames():
    assert oriented_tasks({"KL": 5, "FL": 4, "FM": 4, "OA": 2, "JSN_M": 4, "SIDE": 2}) == (
        "FL",
        "FM",
        "JSN_M",
    )


def test_ensemble_votes_by_weight(tmp_path, stub_session):
    document = card(
        inputs=None, members=[{"bundle": "a", "weight": 1}, {"bundle": "b", "weight": 3}], vote="soft"
    )
    stub_bundle.write_bundle(tmp_path, document, graph=None)
    stub_bundle.write_bundle(tmp_path / "a", card(tta=["flip"]))
    temperate = {"temperature": {"FL": 0.5}, "conformal": {}}
    stub_bundle.write_bundle(tmp_path / "b", card(tta=["flip"], calibration=temperate))
    choir = Model(bundle.load(tmp_path))
    expected = 0.25 * softmax([0, 0.5, 1, 0]) + 0.75 * softmax([0, 1, 2, 0])
    for pixels, side in ((LEFT_BRIGHT, "R"), (RIGHT_BRIGHT, "L")):
        prediction = choir.predict(pixels, side)
        np.testing.assert_allclose(prediction.probabilities["FL"], expected, atol=1e-6)
        assert prediction.side == side
        assert prediction.side_agreement == pytest.approx(1 / (1 + np.exp(-4)))


@pytest.fixture
def choir(tmp_path, stub_session):
    """An ensemble of cards; weights 1, 3, ..."""

    def make(*cards, **changes):
        members = [{"bundle": f"voice{i}", "weight": 1 + 2 * i} for i in range(len(cards))]
        document = card(**{"inputs": None, "members": members, "vote": "soft", **changes})
        stub_bundle.write_bundle(tmp_path, document, graph=None)
        for i, inner in enumerate(cards):
            stub_bundle.write_bundle(tmp_path / f"voice{i}", inner)
        return Model(bundle.load(tmp_path))

    return make


def test_the_member_with_the_most_weight_that_can_tell_reads_the_side(choir, stub_session):
    blind = card(tasks={"KL": 5}, side_convention="none", oa_from="sum")
    cautious = card(calibration={"temperature": {"SIDE": 2.0}, "conformal": {}})
    model = choir(card(), cautious, blind)
    assert model.tells_side
    assert model.side(LEFT_BRIGHT) == pytest.approx(1 / (1 + np.exp(-2)))
    assert len(stub_session.seen) == 1
    assert choir(blind, blind, tasks={"KL": 5}, oa_from="sum").side(LEFT_BRIGHT) is None


def test_an_ensemble_looks_once_per_member(choir, stub_session):
    model = choir(card(), card())
    for pixels, side in ((LEFT_BRIGHT, "R"), (RIGHT_BRIGHT, "L"), (RIGHT_BRIGHT, None)):
        stub_session.seen.clear()
        model.predict(pixels, side)
        assert len(stub_session.seen) == 2


def test_ensemble_adds_osteoarthritis_up_where_no_member_has_a_head(choir):
    plain = card(tasks={"KL": 5}, side_convention="none", oa_from="sum")
    calibration = {"temperature": {"KL": 2.0}, "conformal": {}}
    model = choir(plain, plain, tasks={"KL": 5}, oa_from="sum", calibration=calibration)
    kl = softmax([0.5, 0, 1.5, 0, 0])
    prediction = model.predict(LEFT_BRIGHT, None)
    np.testing.assert_allclose(prediction.probabilities["KL"], kl, atol=1e-6)
    np.testing.assert_allclose(prediction.probabilities["OA"], [kl[:2].sum(), kl[2:].sum()], atol=1e-6)


def test_a_unanimous_vote_can_be_softened(choir):
    calibration = {"temperature": {"KL": 4.0}, "conformal": {}}
    model = choir(card(), card(), vote="hard", calibration=calibration)
    expected = softmax(np.log([1e-12, 1e-12, 1, 1e-12, 1e-12]) / 4)
    np.testing.assert_allclose(model.predict(LEFT_BRIGHT, "R").probabilities["KL"], expected, atol=1e-9)


HALF = [
    {"step": "region", "top": 0.0, "left": 0.0, "height": 1.0, "width": 0.5},
    {"step": "resize", "height": 64, "width": 64},
]


@pytest.mark.parametrize(("pixels", "side"), [(LEFT_BRIGHT, "R"), (RIGHT_BRIGHT, "L")])
def test_maps_of_an_ensemble_lie_where_each_member_looks(choir, pixels, side):
    half = card(
        inputs=[{**stub_bundle.CARD["inputs"][0], "steps": HALF}],
        calibration={"temperature": {"KL": 2.0}, "conformal": {}},
    )
    model = choir(half, card())
    assert model.explains
    prediction = model.predict(pixels, side, maps=True)
    # the first sees the bright half only: l = r = 1, on two of four columns, with temperature 2, weight 1;
    # the second sees all: l = 1, r = 0, two columns each, weight 3
    expected = (np.array([2.0, 2.0, 0.0, 0.0]) / 2 + 3 * np.array([1.0, 1.0, 0.0, 0.0])) / 4
    expected = expected if side == "R" else expected[::-1]
    np.testing.assert_allclose(prediction.maps["KL"], np.broadcast_to(expected, (5, 1, 4)), atol=1e-6)
    assert prediction.frame == (0.0, 0.0, 1.0, 1.0)
    assert prediction.maps_share == dict.fromkeys(stub_bundle.TASKS, 1.0)
    assert model.predict(pixels, side).maps == {}
    np.testing.assert_array_equal(model.view(pixels, prediction), pixels / 65535)


def test_maps_of_an_ensemble_say_how_much_of_the_vote_they_are(choir):
    model = choir(card(), card(tasks={"KL": 5, "FL": 4, "FM": 4}))
    silent = model.members[1]
    silent._outputs = [name for name in silent._outputs if not name.startswith("maps_")]
    assert model.explains
    prediction = model.predict(LEFT_BRIGHT, "R", maps=True)
    assert prediction.maps_share["KL"] == pytest.approx(0.25)
    assert prediction.maps_share["SIDE"] == 1.0
    np.testing.assert_allclose(prediction.maps["KL"], np.broadcast_to([1.0, 0.0], (5, 1, 2)))
    first = model.members[0]
    first._outputs = silent._outputs
    assert not model.explains
    assert model.predict(LEFT_BRIGHT, "R", maps=True).frame is None


# --- the packaged bundle ---------------------------------------------------------------------------------


def test_packaged_bundle_sees_a_left_knee_as_a_mirrored_right_one(grader, phantoms):
    pixels = phantoms["L"].pixels
    left = grader.model.predict(pixels, "L")
    right = grader.model.predict(np.ascontiguousarray(pixels[:, ::-1]), "R")
    for task in grader.model.card.tasks:
        np.testing.assert_array_equal(left.probabilities[task], right.probabilities[task], err_msg=task)
    assert left.side_agreement == right.side_agreement


def test_packaged_bundle_reads_a_mirrored_knee_as_the_other_side(grader, phantoms):
    for phantom in phantoms.values():
        right = grader.model.side(phantom.pixels)
        mirrored = grader.model.side(np.ascontiguousarray(phantom.pixels[:, ::-1]))
        assert (right > 0.5) != (mirrored > 0.5)


def test_a_step_parameter_of_the_wrong_kind_is_the_bundles_error(model):
    steps = [{"step": "resize", "height": "64", "width": 64}]
    with pytest.raises(BadBundle, match="step 'resize': height"):
        model(inputs=[{**card()["inputs"][0], "steps": steps}])
