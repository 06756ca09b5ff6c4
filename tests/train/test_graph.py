"""Graphs: folding changes nothing, weights are stored as they are, and the graph agrees with the network."""

from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - after the check that torch is there
from torch import nn  # noqa: E402 - after the check that torch is there

from kellgren.train import graph  # noqa: E402
from kellgren.train.graders import export, networks  # noqa: E402
from kellgren.train.graders.recipe import Loss, View  # noqa: E402


@pytest.fixture
def net(tiny_recipe):
    torch.manual_seed(0)
    return networks.build(tiny_recipe, init=None)


def inputs(n=2, channels=1, seed=0):
    return torch.randn(n, channels, 64, 96, generator=torch.Generator().manual_seed(seed))


def with_random_statistics(net):
    generator = torch.Generator().manual_seed(2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.3)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            with torch.no_grad():
                module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(module.num_features, generator=generator) * 0.3)
    return net.eval()


def normalisations(net):
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def test_folding_keeps_the_outputs(net):
    with_random_statistics(net)
    x = inputs(3, seed=5)
    with torch.no_grad():
        before = net(x)
        count = normalisations(net)
        changed = graph.folded(net, [x[:1]])
        after = changed(x)
    assert (normalisations(net), normalisations(changed)) == (count, 0)
    for task in before:
        torch.testing.assert_close(after[task], before[task], atol=1e-4, rtol=1e-4)
    assert any(before[task].std() > 1e-3 for task in before)


class Twice(nn.Module):
    """Two images through one convolution and its normalisation, as Siamese networks do."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.normalisation = nn.BatchNorm2d(4)

    def forward(self, one, other):
        return self.normalisation(self.convolution(one)) + self.normalisation(self.convolution(other))


class Reused(Twice):
    """The convolution's own output is used too, as in pre-activation residual networks."""

    def forward(self, one, other):
        first = self.convolution(one)
        return self.normalisation(first) + first + self.convolution(other)


class TwoStatistics(Twice):
    """One convolution for two streams that are normalised each by itself."""

    def __init__(self):
        super().__init__()
        self.other = nn.BatchNorm2d(4)

    def forward(self, one, other):
        return self.normalisation(self.convolution(one)) + self.other(self.convolution(other))


@pytest.mark.parametrize(("kind", "left"), [(Twice, 0), (Reused, 1), (TwoStatistics, 2)])
def test_folding_where_a_convolution_is_used_more_than_once(kind, left):
    torch.manual_seed(1)
    net = with_random_statistics(kind())
    one, other = torch.randn(2, 3, 1, 9, 9)
    changed = graph.folded(net, [one, other])
    assert normalisations(changed) == left
    torch.testing.assert_close(changed(one, other), net(one, other), atol=1e-5, rtol=1e-5)


def test_rounded_weights_are_exact_in_half_precision(net):
    bias = net.heads["KL"].bias.clone()
    graph.round_weights(net)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            torch.testing.assert_close(parameter.half().float(), parameter, rtol=0, atol=0)
    torch.testing.assert_close(net.heads["KL"].bias, bias, rtol=0, atol=0)


def described(path):
    model = onnx.load(path)
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    kinds = {i.data_type for i in model.graph.initializer if len(i.dims) > 1} & set(floats)
    return [i.name for i in model.graph.input], [o.name for o in model.graph.output], kinds


def test_inputs_are_views_and_only_linear_heads_have_maps(tiny_recipe, tmp_path):
    """CORAL's raw outputs are thresholds, not grades: its logits are derived, and it has no maps."""
    recipe = replace(
        tiny_recipe,
        tasks={"KL": 1.0, "OA": 0.5},
        views={"colour": replace(tiny_recipe.views["joint"], channels=3)},
        loss={"KL": Loss(kind="coral")},
        tta=(),
    )
    torch.manual_seed(0)
    net = with_random_statistics(networks.build(recipe, init=None))
    views = [inputs(4, channels=3, seed=3)]
    export.export(net, recipe, views, tmp_path / "g.onnx")
    names, outputs, kinds = described(tmp_path / "g.onnx")
    assert names == ["colour"]
    assert outputs == ["logits_KL", "logits_OA", "maps_OA", "embedding"]
    assert kinds == {onnx.TensorProto.FLOAT}
    assert export.largest_difference(net, recipe, tmp_path / "g.onnx", views) <= export.PARITY
    probabilities = export.probabilities(net, recipe, views)
    assert probabilities["KL"].shape == (4, 5)
    torch.testing.assert_close(probabilities["KL"].sum(1), torch.ones(4))


class TwoViews(nn.Module):
    """A network of two views, as simple as can be."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict({"KL": nn.Linear(8, 5)})

    def features(self, views):
        return torch.cat([nn.functional.adaptive_avg_pool2d(view[:, :1], 2).flatten(1) for view in views], 1)

    def forward(self, *views):
        return {"KL": self.heads["KL"](self.features(views))}

    def explain(self, *views):
        features = self.features(views)
        return {"KL": self.heads["KL"](features)}, {}, features


def test_several_inputs_of_different_sizes(tiny_recipe, tmp_path):
    recipe = replace(
        tiny_recipe, tasks={"KL": 1.0}, views={"left": View(()), "right": View((), channels=3)}, tta=()
    )
    net = TwoViews()
    graph.round_weights(net)
    views = [torch.rand(5, 1, 12, 8), torch.rand(5, 3, 6, 7)]
    export.export(net, recipe, views, tmp_path / "g.onnx")
    names, outputs, kinds = described(tmp_path / "g.onnx")
    assert (names, outputs) == (["left", "right"], ["logits_KL", "embedding"])
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert export.largest_difference(net, recipe, tmp_path / "g.onnx", views) < 1e-6
    import onnxruntime as ort

    session = ort.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits_KL"], {"left": views[0].numpy(), "right": views[1].numpy()})
    np.testing.assert_allclose(found, net(*views)["KL"].detach().numpy(), atol=1e-5)
    swapped = [views[0].flip(0), views[1]]
    assert export.largest_difference(net, recipe, tmp_path / "g.onnx", swapped) < 1e-6


def test_operations_of_a_graph_by_hand():
    """A grouped convolution, a matrix product and a linear layer; what is no product does not count."""
    nodes = [
        helper.make_node("Conv", ["joint", "kernel"], ["maps"], group=2, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("Flatten", ["positive"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mix"], ["mixed"]),
        helper.make_node("Gemm", ["mixed", "weight"], ["logits"], transB=1),
    ]
    sizes = {"kernel": (6, 2, 3, 3), "mix": (6 * 8 * 5, 7), "weight": (3, 7)}
    weights = [numpy_helper.from_array(np.zeros(size, np.float32), name) for name, size in sizes.items()]
    joint = helper.make_tensor_value_info("joint", TensorProto.FLOAT, ["batch", 4, 8, 5])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    content = helper.make_model(helper.make_graph(nodes, "g", [joint], [logits], weights)).SerializeToString()
    convolution = (6 * 8 * 5) * (2 * 3 * 3)
    assert graph.operations(content) == convolution + 6 * 8 * 5 * 7 + 7 * 3
