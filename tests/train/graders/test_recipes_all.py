"""Every packaged recipe of a grader: a few steps on simulated crops, then out as a graph and back."""

import os
from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from kellgren.model import steps  # noqa: E402 - after the check that torch is there
from kellgren.simulate import draw_crop  # noqa: E402
from kellgren.train import documents, graph  # noqa: E402
from kellgren.train.graders import export, losses, networks, recipe  # noqa: E402
from kellgren.vocabulary import oa_from_kl  # noqa: E402

GRADERS = [name for name in documents.available() if "kind" not in documents.document(name, size="small")]

SIDES = {"wang": 112, "tiulpin": 150, "antony": 100, "inception_v3": 112}
"""Sides that crops are resized to, by kind of network or backbone; 64 for all others."""


def tiny(name):
    """A recipe at its small size with smaller images: each step's work, not its meaning, changes."""
    chosen = recipe.load(name, size="small")
    side = SIDES.get(chosen.network.kind, SIDES.get(chosen.network.backbone, 64))

    def spec(step):
        return step.model_copy(update={"height": side, "width": side}) if step.step == "resize" else step

    views = {n: replace(v, prepare=tuple(map(spec, v.prepare))) for n, v in chosen.views.items()}
    return replace(chosen, views=views)


@pytest.fixture(scope="module")
def knees():
    """Five simulated right knees, one of each KL grade: (image, truth)."""
    rng = np.random.default_rng(6)
    drawn = [draw_crop(rng, KL=kl, side="R", size=160) for kl in range(5)]
    return [(steps.unit_range(phantom.pixels), phantom.truth) for phantom in drawn]


def batch(chosen, knees):
    views = [
        torch.from_numpy(np.stack([steps.apply(image, (*v.prepare, *v.finish)) for image, _ in knees]))[
            :, None
        ]
        for v in chosen.views.values()
    ]
    grades = {}
    for task in chosen.tasks:
        if task == "OA":
            values = [oa_from_kl(truth.KL) for _, truth in knees]
        elif task == "SIDE":
            values = [0] * 5
        else:
            values = [getattr(truth, task) for _, truth in knees]
        grades[task] = torch.tensor(values)
    return views, grades


def trained(chosen, knees, count=2):
    """A network after a few steps, and what went on: losses, and the parameters that a gradient reached."""
    torch.manual_seed(0)
    net = networks.build(chosen, init=None).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # so few steps are to leave statistics of these knees, not of nothing
    views, grades = batch(chosen, knees)
    optimiser = torch.optim.SGD((p for p in net.parameters() if p.requires_grad), lr=1e-4)
    values, reached = [], set()
    for _ in range(count):
        loss = losses.multi_task(net(*views), grades, chosen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(float(loss.detach()))
        reached |= {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    return net.eval(), views, values, reached


def architecture(name):
    """What decides a graph apart from sizes; recipes that share it need one export between them."""
    chosen = tiny(name)
    kinds = {chosen.loss_of(task).kind for task in chosen.tasks}
    return (
        chosen.network.kind,
        chosen.network.backbone,
        repr(chosen.network.options),
        len(chosen.views),
        *kinds,
    )


EXPORTED = sorted({architecture(name): name for name in reversed(GRADERS)}.values())
"""One recipe for each architecture."""

SLOW = {"oa-men-nasnet"}
"""Exporting its 18 cells takes as long as all others together: with KELLGREN_SLOW_TESTS set."""


@pytest.mark.parametrize("name", GRADERS)
def test_recipe_learns_from_simulated_knees(name, knees):
    chosen = tiny(name)
    assert (chosen.name, chosen.size) == (name, "small")
    net, views, values, reached = trained(chosen, knees)
    assert np.isfinite(values).all()
    trainable = {n for n, p in net.named_parameters() if p.requires_grad}
    assert trainable - reached == set()
    assert any(not p.requires_grad for p in net.parameters()) == bool(chosen.network.freeze)
    with torch.inference_mode():
        outputs = net(*views)
        raw, maps, embedding = net.explain(*views)
    assert list(outputs) == [*chosen.tasks, *chosen.auxiliary]
    assert list(raw) == list(chosen.tasks)
    for task in chosen.tasks:
        objective = losses.build(chosen.loss_of(task), chosen.classes_of(task))
        assert raw[task].shape == (5, objective.outputs(chosen.classes_of(task)))
        assert objective.logits(raw[task]).shape == (5, chosen.classes_of(task))
        torch.testing.assert_close(outputs[task], raw[task], atol=1e-4, rtol=1e-3)
        if maps:
            scale = float(raw[task].abs().max()) + 1
            torch.testing.assert_close(maps[task].mean(dim=(2, 3)), raw[task], atol=1e-4 * scale, rtol=1e-3)
    assert embedding.ndim == 2
    assert bool(maps) == (name not in ("antony", "chen"))


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_graph_gives_the_same_probabilities(name, knees, tmp_path):
    if name in SLOW and not os.environ.get("KELLGREN_SLOW_TESTS"):
        pytest.skip("slow export: set KELLGREN_SLOW_TESTS")
    chosen = tiny(name)
    net, views, _, _ = trained(chosen, knees, count=1)
    whole = graph.folded(net, [view[:2] for view in views])
    export.export(whole, chosen, views, tmp_path / "model.onnx")
    assert export.largest_difference(net, chosen, tmp_path / "model.onnx", views) < 1e-3


def test_sizes_share_everything_but_weight_of_work():
    for name in GRADERS:
        full, small = recipe.load(name), recipe.load(name, size="small")
        for part in (
            "tasks",
            "side_convention",
            "loss",
            "auxiliary",
            "augment",
            "augment_by_grade",
            "sampling",
        ):
            assert getattr(full, part) == getattr(small, part), (name, part)
        assert full.network.kind == small.network.kind
        assert list(full.views) == list(small.views)
        for view in full.views:
            steps_of = [[s.step for s in v.prepare] for v in (full.views[view], small.views[view])]
            assert steps_of[0] == steps_of[1], name
            assert full.views[view].finish == small.views[view].finish


def with_clip(view, clip):
    """The steps of a view with another clip limit."""
    given = (*view.prepare, *view.finish)
    return [step.model_copy(update={"clip": clip}) if step.step == "clahe" else step for step in given]


@pytest.mark.parametrize("size", ["full", "small"])
@pytest.mark.parametrize("name", ["dual-stream", "dual-stream-no-attention", "dual-stream-clahe"])
def test_the_clip_limit_has_an_effect_at_every_size(name, size):
    """On few pixels a tile's limit is rounded to the same integer whatever the clip."""
    view = recipe.load(name, size=size).views["clahe"]
    drawn = draw_crop(np.random.default_rng(6), KL=2, side="R", size=299)
    crop = steps.unit_range(drawn.pixels)
    one, three = (steps.apply(crop, with_clip(view, clip)) for clip in (1.0, 3.0))
    assert float(np.abs(one - three).mean()) > 0.05
    where = [step.step for step in view.prepare].index("clahe")
    assert min(steps.apply(crop, view.prepare[:where]).shape) >= 128


def test_every_recipe_with_clahe_is_looked_at():
    named = {
        name
        for name in GRADERS
        for view in recipe.load(name).views.values()
        if any(step.step == "clahe" for step in view.prepare)
    }
    assert named == {"dual-stream", "dual-stream-no-attention", "dual-stream-clahe"}


def test_published_systems_decide_by_the_most_probable_grade():
    for name in GRADERS:
        chosen = recipe.load(name)
        if "ours" not in chosen.source:
            assert set(chosen.decision) == set(chosen.tasks), name
            assert set(chosen.decision.values()) == {"argmax"}, name


def sizes_of(name):
    """Sizes that a packaged recipe has."""
    return tuple(documents.read(name, "recipes", "recipe")[0]["sizes"])


MATCHED = [name for name in GRADERS if "matched" in sizes_of(name)]


@pytest.mark.parametrize("name", MATCHED)
def test_at_the_matched_size_only_the_idea_differs(name):
    chosen, full = recipe.load(name, size="matched"), recipe.load(name)
    assert chosen.optimise == recipe.load("wang", size="matched").optimise
    assert (chosen.optimise.epochs, chosen.optimise.batch) == (8, 32)
    for part in ("tasks", "side_convention", "loss", "auxiliary", "augment", "augment_by_grade", "sampling"):
        assert getattr(chosen, part) == getattr(full, part), part
    trunk = "mobilenetv2_100" if name == "oa-men-mobilenet" else "tf_efficientnet_lite0"
    assert chosen.network.backbone == trunk
    side = 128 if name.startswith("dual-stream") else 160
    for view, at_full in zip(chosen.views.values(), full.views.values(), strict=True):
        assert [s.step for s in view.prepare] == [s.step for s in at_full.prepare]
        drawn = draw_crop(np.random.default_rng(0), KL=1, side="R", size=224)
        shown = steps.apply(steps.unit_range(drawn.pixels), (*view.prepare, *view.finish))
        assert shown.shape[1] == side
    torch.manual_seed(0)
    net = networks.build(chosen, init=None).eval()
    views = [torch.zeros(1, view.channels, *shown.shape) for view in chosen.views.values()]
    with torch.inference_mode():
        assert set(net(*views)) == {*chosen.tasks, *chosen.auxiliary}


def test_the_pyramid_of_oa_men_stands_alone():
    chosen = recipe.load("oa-men", size="matched")
    alone = replace(chosen, network=replace(chosen.network, options={"parallel": "", "pyramid": 64}))
    net = networks.build(alone, init=None).eval()
    assert len(net.backbones) == 1
    image = torch.rand(1, 1, 160, 160)
    with torch.inference_mode():
        raw, maps, embedding = net.explain(image)
        torch.testing.assert_close(net(image)["KL"], raw["KL"], atol=1e-4, rtol=1e-3)
    assert embedding.shape == (1, 256)
    torch.testing.assert_close(maps["KL"].mean(dim=(2, 3)), raw["KL"], atol=1e-4, rtol=1e-3)
