"""The published systems' networks: equations by hand, shapes, and as many weights as published."""

from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from kellgren.errors import BadRecipe  # noqa: E402
from kellgren.model import steps  # noqa: E402 - after the check that torch is there
from kellgren.simulate import draw_crop  # noqa: E402
from kellgren.train.graders import networks, recipe  # noqa: E402
from kellgren.train.graders.networks import dual_stream, oa_men, siamese, tiulpin, wang  # noqa: E402
from kellgren.train.optimiser import parameters_of  # noqa: E402
from kellgren.vocabulary import TASKS  # noqa: E402


def resized(chosen, side):
    """A recipe whose crops become squares of the given side, everything else as it is."""

    def spec(step):
        return step.model_copy(update={"height": side, "width": side}) if step.step == "resize" else step

    views = {n: replace(v, prepare=tuple(map(spec, v.prepare))) for n, v in chosen.views.items()}
    return replace(chosen, views=views)


def small(name, side=96, **network):
    chosen = resized(recipe.load(name, size="small"), side)
    return replace(chosen, network=replace(chosen.network, **network))


def built(chosen):
    torch.manual_seed(0)
    return networks.build(chosen, init=None).eval()


def views_of(chosen, image):
    """What the network sees of one crop, as grading prepares it."""
    arrays = [steps.apply(image, (*view.prepare, *view.finish)) for view in chosen.views.values()]
    return [torch.from_numpy(array)[None, None] for array in arrays]


@pytest.fixture(scope="module")
def crop():
    return steps.unit_range(draw_crop(np.random.default_rng(3), KL=2, side="R", size=160).pixels)


# --- Wang 2021 -------------------------------------------------------------------------------------------


def test_gate_is_equation_6():
    fusion = wang.GatedFusion(width=2, gates=2)
    with torch.no_grad():
        fusion.weight.weight.copy_(torch.tensor([[1.0, 0, 0, -1], [0, 2, 0.5, 0]]))
    left, right = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, -2.0]])
    g = 1 / (1 + np.exp([-(1 + 2), -(4 + 2)]))  # W (1, 2, 4, -2) = (1 + 2, 4 + 2)
    expected = g * [1, 2] + (1 - g) * [4, -2]
    parts = fusion.contributions((left, right), (left, right))
    np.testing.assert_allclose(sum(parts)[0].detach(), expected, rtol=1e-6)


def test_one_gate_for_the_whole_patch():
    net = built(small("wang", options={**small("wang").network.options, "gates": "patch"}))
    assert net.fusion.weight.out_features == 1
    views = [torch.randn(2, 1, 51, 48) for _ in range(2)]
    raw, maps, _ = net.explain(*views)
    torch.testing.assert_close(maps["KL"].mean(dim=(2, 3)), raw["KL"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["wang", "wang-siamese", "tiulpin"])
def test_siamese_networks_have_one_branch_and_exact_maps(name):
    chosen = small(name, 150 if name == "tiulpin" else 96)
    net = built(chosen)
    calls = []
    net.branch.register_forward_hook(lambda *call: calls.append(call))
    image = np.random.default_rng(0).random((96, 96), dtype=np.float32)
    views = views_of(chosen, image)
    raw, maps, embedding = net.explain(*views)
    assert len(calls) == 2
    for task in chosen.tasks:
        assert maps[task].shape[:2] == (1, TASKS[task].classes)
        torch.testing.assert_close(maps[task].mean(dim=(2, 3)), raw[task], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(net(*views)[task], raw[task])
    assert embedding.shape == (1, net.fusion.width)


def test_patches_of_a_symmetric_joint_are_equal(crop):
    both = (crop + crop[:, ::-1]) / 2
    for name in ("wang", "tiulpin"):
        chosen = recipe.load(name)
        left, right = views_of(chosen, both)
        torch.testing.assert_close(left, right, atol=1e-3, rtol=0)
        left, right = views_of(chosen, crop)
        assert (left - right).abs().mean() > 0.1


def test_a_mirrored_knee_exchanges_the_patches_and_mirrors_the_maps(crop):
    options = {**small("wang").network.options, "fusion": "mean"}
    chosen = small("wang", 112, options=options)
    net = built(chosen)
    plain = net.explain(*views_of(chosen, crop))
    turned = net.explain(*views_of(chosen, crop[:, ::-1]))
    torch.testing.assert_close(plain[0]["KL"], turned[0]["KL"], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(plain[1]["KL"], turned[1]["KL"].flip(3), atol=1e-2, rtol=1e-2)


def test_the_outer_column_of_the_map_belongs_to_the_outer_margin_of_the_right_patch():
    net = built(small("wang", 192))
    views = [torch.randn(1, 1, 103, 96, requires_grad=True) for _ in range(2)]
    left, right = net._features(*views)
    assert left.shape[3] == right.shape[3] > 1
    parts = net.fusion.contributions(net._pooled(left, right), (left, right))
    outer = torch.nn.functional.conv2d(2 * parts[1][:, :, :, :1], net.heads["KL"].weight[:, :, None, None])
    expected = outer[:, :, :, 0] + net.heads["KL"].bias[:, None]
    _, maps, _ = net.explain(*views)
    torch.testing.assert_close(maps["KL"][:, :, :, -1], expected)


def test_ablation_rows_differ_in_the_part_that_they_name():
    rows = {n: recipe.load(n) for n in ("wang-baseline", "wang-siamese", "wang-siamese-oa", "wang")}
    tasks = {name: tuple(row.tasks) for name, row in rows.items()}
    assert "OA" not in tasks["wang-baseline"]
    assert tasks["wang-baseline"] == tasks["wang-siamese"]
    assert len(tasks["wang"]) == 8
    assert tasks["wang"] == tasks["wang-siamese-oa"]
    assert rows["wang"].views == rows["wang-siamese"].views == rows["wang-siamese-oa"].views
    assert [r.network.options.get("fusion") for r in rows.values()] == [
        None,
        "concatenate",
        "concatenate",
        "gate",
    ]
    for row in rows.values():
        assert (row.optimise, row.augment) == (rows["wang"].optimise, rows["wang"].augment)
        assert row.network.dropout == 0.5
    first, second, third = rows["wang"].optimise.phases
    assert (first.train, first.epochs, first.lr) == ("heads", 2, 1e-2)
    assert (second.train, second.epochs, second.lr, third.lr) == ("all", 1, 1e-3, 1e-4)
    assert rows["wang"].optimise.epochs == 20


def test_mean_and_concatenation():
    left, right = torch.randn(2, 3), torch.randn(2, 3)
    mean, together = siamese.Mean(3), siamese.Concatenation(3)
    torch.testing.assert_close(sum(mean.contributions((left, right), (left, right))), (left + right) / 2)
    both = sum(together.contributions((left, right), (left, right)))
    torch.testing.assert_close(both, torch.cat([left, right], dim=1))


# --- Tiulpin 2018 and Antony 2017 ------------------------------------------------------------------------


def test_tiulpins_layers():
    branch = tiulpin.Branch(1, 64).eval()
    sizes = []
    for module in branch.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[1:])))
    branch(torch.zeros(1, 1, 128, 128))
    expected = [(64, 63), (64, 61), (64, 59), (128, 27), (128, 25), (256, 10)]
    assert sizes == [(c, s, s) for c, s in expected]


def test_antonys_layers():
    chosen = recipe.load("antony")
    net = built(chosen)
    sizes = []
    for module in net.stages:
        if isinstance(module, torch.nn.MaxPool2d):
            module.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[1:])))
    raw = net(torch.zeros(1, 1, 200, 300))
    assert sizes == [(32, 49, 74), (64, 24, 36), (96, 11, 17), (128, 5, 8)]
    assert raw["KL"].shape == (1, 6)  # five logits and a number
    assert net.explain(torch.zeros(1, 1, 200, 300))[1] == {}


@pytest.mark.parametrize("name", ["antony", "tiulpin"])
def test_networks_from_scratch_take_no_initial_weights(name):
    with pytest.raises(BadRecipe, match="random weights"):
        networks.build(recipe.load(name, size="small"), init="hub")


# --- OA-MEN ----------------------------------------------------------------------------------------------


def test_pyramid_carries_deep_features_up():
    pyramid = oa_men.Pyramid([4, 6], channels=3).eval()
    shallow, deep = torch.randn(1, 4, 4, 4), torch.randn(1, 6, 2, 2)
    fine, coarse = pyramid([shallow, deep])
    enlarged = pyramid.lateral[1](deep).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(fine, pyramid.smooth[0](pyramid.lateral[0](shallow) + enlarged))
    torch.testing.assert_close(coarse, pyramid.smooth[1](pyramid.lateral[1](deep)))


def test_oa_men_has_four_scales_and_a_parallel_branch_with_exact_maps():
    chosen = small("oa-men", 64)
    net = built(chosen)
    x = torch.randn(2, 1, 64, 96)
    raw, maps, fused = net.explain(x)
    assert fused.shape == (2, 4 * 64 + net.mobilenet.width)
    assert maps["KL"].shape == (2, 5, 2, 3)
    torch.testing.assert_close(maps["KL"].mean(dim=(2, 3)), raw["KL"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net(x)["KL"], raw["KL"], atol=1e-5, rtol=1e-5)
    levels = net.pyramid(net.resnet.stages(x)[-4:])
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert not parameters_of([net.pyramid]) & parameters_of(net.backbones)
    with pytest.raises(BadRecipe, match="32 divides"):
        net(torch.randn(1, 1, 64, 80))


# --- dual stream -----------------------------------------------------------------------------------------


def test_cross_attention_weights_add_up_to_one_and_agree_with_torchs():
    attention = dual_stream.CrossAttention(width=8, heads=2).eval()
    own, other = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    weights = attention.weights(own, other)
    assert weights.shape == (3, 2, 5, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 5))
    reference = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    with torch.no_grad():
        parts = (attention.query, attention.key, attention.value)
        reference.in_proj_weight.copy_(torch.cat([p.weight for p in parts]))
        reference.in_proj_bias.copy_(torch.cat([p.bias for p in parts]))
        reference.out_proj.load_state_dict(attention.out.state_dict())
    expected = attention.norm(own + reference(own, other, other)[0])
    torch.testing.assert_close(attention(own, other), expected, atol=1e-5, rtol=1e-5)


def test_fusion_weights_add_up_to_one_and_weigh_the_streams():
    fusion = dual_stream.AttentionFusion(4, 8)
    weights = fusion(torch.randn(6, 4), torch.randn(6, 4))
    torch.testing.assert_close(weights.sum(1), torch.ones(6))
    net = built(small("dual-stream", 64))
    raw, clahe = torch.randn(2, 1, 64, 64), torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        net.fusion.mlp[2].weight.zero_()
        net.fusion.mlp[2].bias.copy_(torch.tensor([40.0, -40.0]))  # all weight on the raw stream
        own, other = (net.backbone(x).flatten(2).transpose(1, 2) for x in (raw, clahe))
        expected = net.raw_attends(own, other).mean(dim=1)
        embedding = net.explain(raw, clahe)[2]
    torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-5)


def test_both_streams_share_one_backbone_and_auxiliary_heads_are_not_explained():
    net = built(small("dual-stream", 64))
    assert len(net.backbones) == 1
    assert set(net.heads) == {"KL", "early", "subgroup"}
    views = [torch.randn(2, 1, 64, 64) for _ in range(2)]
    out = net(*views)
    assert {name: tuple(v.shape) for name, v in out.items()} == {
        "KL": (2, 5),
        "early": (2, 2),
        "subgroup": (2, 3),
    }
    raw, maps, _ = net.explain(*views)
    assert list(raw) == list(maps) == ["KL"]
    torch.testing.assert_close(maps["KL"].mean(dim=(2, 3)), raw["KL"], atol=1e-5, rtol=1e-4)


def test_streams_are_normalised_in_evaluation_as_in_training():
    net = built(small("dual-stream", 64, dropout=0.0))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # running statistics are those of the last batch
    views = torch.randn(16, 1, 64, 64), 3.0 + 0.2 * torch.randn(16, 1, 64, 64)
    with torch.no_grad():
        trained = net.train()(*views)["KL"]
        evaluated = net.eval()(*views)["KL"]
    torch.testing.assert_close(evaluated, trained, atol=0.1 * float(trained.abs().max()), rtol=0)


def test_dual_stream_ablation_rows():
    rows = [recipe.load(n) for n in ("dual-stream-clahe", "dual-stream-raw", "dual-stream-no-attention")]
    whole = recipe.load("dual-stream")
    assert [tuple(row.views) for row in rows] == [("clahe",), ("raw",), ("raw", "clahe")]
    for row in rows:
        assert (row.loss, row.auxiliary, row.augment_by_grade) == (
            whole.loss,
            whole.auxiliary,
            whole.augment_by_grade,
        )
        assert row.optimise == whole.optimise
        assert row.network.dropout == 0.4
        assert all(row.views[name] == whole.views[name] for name in row.views)
    net = built(small("dual-stream-no-attention", 64))
    assert set(net.parameters()) - parameters_of(net.backbones) == parameters_of([net.heads])


# --- what does not fit together --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wang", "tiulpin", "dual-stream"])
def test_networks_of_two_views_want_two(name):
    chosen = recipe.load(name, size="small")
    first = dict(list(chosen.views.items())[:1])
    with pytest.raises(BadRecipe, match="two views, the recipe has 1"):
        networks.build(replace(chosen, views=first), init=None)


@pytest.mark.parametrize("name", ["antony", "oa-men", "chen"])
def test_networks_of_one_view_want_one(name):
    chosen = recipe.load(name, size="small")
    twice = dict.fromkeys(("one", "other"), next(iter(chosen.views.values())))
    with pytest.raises(BadRecipe, match="one view, the recipe has 2"):
        networks.build(replace(chosen, views=twice), init=None)


def test_patches_need_places():
    with pytest.raises(BadRecipe, match="hidden layers"):
        networks.build(small("wang", backbone="vgg11", options={"model": {"mlp_ratio": 0.01}}), init=None)


# --- full size -------------------------------------------------------------------------------------------

PUBLISHED = {
    # Weights of the ImageNet network, and those that it loses here: its classifier of 1000 classes and two of
    # three input channels. Totals as published by the networks' authors, torchvision and timm.
    "chen": (143_667_240, 4096 * 1000 + 1000, 64 * 2 * 9),
    "densenet121": (7_978_856, 1024 * 1000 + 1000, 64 * 2 * 49),
    "mikhaylichenko": (7_978_856, 1024 * 1000 + 1000, 64 * 2 * 49),
    "resnet101": (44_549_160, 2048 * 1000 + 1000, 64 * 2 * 49),
    "inception-v3": (23_834_568, 2048 * 1000 + 1000, 32 * 2 * 9),
    "seresnet50": (28_088_024, 2048 * 1000 + 1000, 64 * 2 * 49),
    "seresnext50": (27_559_896, 2048 * 1000 + 1000, 64 * 2 * 49),
    "wang": (27_559_896, 2048 * 1000 + 1000, 64 * 2 * 49),
    "dual-stream": (11_689_512, 512 * 1000 + 1000, 64 * 2 * 49),
    "oa-men": (25_557_032 + 4_231_976, 3072 * 1000 + 2000, 64 * 2 * 49 + 32 * 2 * 9),
    "oa-men-xception": (22_855_952, 2048 * 1000 + 1000, 32 * 2 * 9),
    "oa-men-mobilenet": (4_231_976, 1024 * 1000 + 1000, 32 * 2 * 9),
    "oa-men-nasnet": (88_753_150, 4032 * 1000 + 1000, 96 * 2 * 9),
    "pi-densenet161": (28_681_000, 2208 * 1000 + 1000, 96 * 2 * 49),
    "pi-efficientnet-b5": (30_389_784, 2048 * 1000 + 1000, 48 * 2 * 9),
    "pi-efficientnetv2-s": (21_458_488, 1280 * 1000 + 1000, 24 * 2 * 9),
    "pi-regnety-8gf": (39_381_472, 2016 * 1000 + 1000, 32 * 2 * 9),
    "pi-resnet101": (44_549_160, 2048 * 1000 + 1000, 64 * 2 * 49),
    "pi-resnext50": (25_028_904, 2048 * 1000 + 1000, 64 * 2 * 49),
    "pi-wide-resnet50": (68_883_240, 2048 * 1000 + 1000, 64 * 2 * 49),
    "pi-shufflenetv2": (7_393_996, 2048 * 1000 + 1000, 24 * 2 * 9),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_full_networks_have_as_many_weights_as_published(name):
    with torch.device("meta"):
        net = networks.build(recipe.load(name), init=None)
    whole, classifier, colours = PUBLISHED[name]
    assert sum(p.numel() for p in parameters_of(net.backbones)) == whole - classifier - colours


def test_full_networks_shapes_are_those_of_their_figures():
    expected = {
        "wang": (8, 14),
        "wang-whole": (8, 14),
        "oa-men": (7, 7),
        "dual-stream": (7, 7),
        "tiulpin": (10, 20),
    }
    for name, size in expected.items():
        chosen = recipe.load(name)
        shapes = [view.shape for view in views_of(chosen, np.zeros((299, 299), np.float32))]
        with torch.device("meta"):
            net = networks.build(chosen, init=None).eval()
            _, maps, _ = net.explain(*(torch.zeros(shape) for shape in shapes))
        assert maps["KL"].shape == (1, 5, *size), name
