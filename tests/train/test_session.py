"""Phases, optimisers, patience, averages: what a run does between its first step and its best weights."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that torch is there

from kellgren.data import load  # noqa: E402 - after the check that torch is there
from kellgren.errors import BadRecipe  # noqa: E402
from kellgren.train import folder, optimiser, session  # noqa: E402
from kellgren.train.graders import losses, networks, training  # noqa: E402
from kellgren.train.graders.recipe import Augment, Auxiliary, Loss, Optimise, Phase, View  # noqa: E402
from kellgren.train.graders.training import train  # noqa: E402
from kellgren.train.hardware import Hardware  # noqa: E402
from kellgren.train.run import Run  # noqa: E402

HEADS = Phase(epochs=1, lr=1e-2, train="heads")
ALL = Phase(epochs=1, lr=1e-3, head_lr=2e-3, schedule="cosine", warmup=0.5)
LAST = Phase(epochs=1, lr=1e-4)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums in a fixed order, so that weights can be compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def rich_recipe(tiny_recipe):
    """Everything that a recipe can ask of training at once, on tiny images."""
    view = View(
        prepare=(tiny_recipe.views["joint"].prepare[0], {"step": "resize", "height": 40, "width": 48}),
        finish=({"step": "normalise", "mean": 0.5, "std": 0.5},),
        channels=3,
    )
    return replace(
        tiny_recipe,
        name="rich",
        views={"joint": view},
        network=replace(tiny_recipe.network, freeze=(), drop_path=0.0),
        optimise=replace(tiny_recipe.optimise, phases=(HEADS, ALL, LAST), ema=0.9, batch=6),
        loss={"default": Loss(spread=0.5), "KL": Loss(smoothing=0.1)},
        auxiliary={"early": Auxiliary(of="KL", classes={0: 0, 1: 1, 2: 1}, weight=0.3)},
        augment_by_grade={1: Augment(flip=0.5, rotate=20, gamma=1.5)},
        sampling="balanced",
    )


@pytest.fixture(scope="module")
def run_in(rich_recipe, training_set):
    def make(folder, *, init=None, **changes):
        hardware = Hardware(torch.device("cpu"), bf16=False, threads=1, name="test, fp32")
        return Run(replace(rich_recipe, **changes), load(training_set), folder, 0, 3, hardware, init=init)

    return make


def entries(folder):
    return [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines()]


def stored(folder, name):
    return torch.load(folder / name, weights_only=True)


@pytest.fixture(scope="module")
def epochs_of(run_in, tmp_path_factory):
    """The weights at the start and after each epoch of a whole run, and its folder."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    seen = []

    def track(items, total, description):
        del total, description
        seen.append(None)
        yield from items

    original = session.Session._write

    def keep(self, *, best):
        original(self, best=best)
        seen[-1] = {name: value.clone() for name, value in self.net.state_dict().items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.Session, "_write", keep)
        train(run_in(folder), track=track)
    torch.manual_seed(3)
    start = networks.build(run_in(folder).recipe, init=None).state_dict()
    return folder, [start, *seen]


def test_heads_first_leaves_the_backbone_and_its_statistics(epochs_of):
    _, (start, after_heads, after_all, _) = epochs_of
    moved = {name for name in start if not torch.equal(start[name], after_heads[name])}
    assert moved
    assert all(name.startswith("heads.") for name in moved)
    assert {name for name in start if name.startswith("heads.")} == moved
    later = {name for name in start if not torch.equal(after_heads[name], after_all[name])}
    assert later == set(start)


def test_auxiliary_head_learns_and_is_not_graded(epochs_of, run_in):
    folder, (start, *_, end) = epochs_of
    assert not torch.equal(start["heads.early.weight"], end["heads.early.weight"])
    assert not [key for key in entries(folder)[0] if "early" in key]


def test_log_names_the_phase(epochs_of):
    log = entries(epochs_of[0])
    assert [entry["phase"] for entry in log] == [1, 2, 3]
    assert [entry["epoch"] for entry in log] == [1, 2, 3]
    assert log[-1]["seconds_left"] == 0
    assert log[0]["seconds_left"] == pytest.approx(2 * log[0]["seconds"])


def test_average_follows_the_weights(epochs_of):
    folder, _ = epochs_of
    state = stored(folder, "last.pt")
    name = "heads.KL.weight"
    assert not torch.equal(state["average"][name], state["model"][name])
    torch.testing.assert_close(state["average"][name], state["model"][name], atol=0.1, rtol=0)


@pytest.mark.parametrize("stops", [1, 2])
def test_run_killed_in_any_phase_goes_on_with_the_same_bits(epochs_of, run_in, tmp_path, stops):
    def killed(items, total, description):
        del total
        for index, item in enumerate(items):
            if description.startswith(f"epoch {stops + 1}/") and index == 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        train(run_in(tmp_path), track=killed)
    assert len(entries(tmp_path)) == stops
    train(run_in(tmp_path), resume=True)
    whole, again = stored(epochs_of[0], "last.pt"), stored(tmp_path, "last.pt")
    for part in ("model", "average"):
        for name, value in whole[part].items():
            torch.testing.assert_close(again[part][name], value, rtol=0, atol=0, msg=f"{part} {name}")
    timing = {"seconds", "seconds_left", "images_per_s"}
    first, second = entries(epochs_of[0]), entries(tmp_path)
    assert [{k: v for k, v in e.items() if k not in timing} for e in first] == [
        {k: v for k, v in e.items() if k not in timing} for e in second
    ]


def test_a_finished_run_resumes_to_its_best_weights_at_once(epochs_of, run_in):
    def forbidden(items, total, description):
        raise AssertionError(description)

    net = train(run_in(epochs_of[0]), resume=True, track=forbidden)
    for name, value in stored(epochs_of[0], "best.pt")["model"].items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=0, atol=0)


# --- patience and best weights ---------------------------------------------------------------------------


@pytest.fixture
def scripted(monkeypatch):
    """Held-out scores as a list says, with the weights that they were given for."""
    scores, weights = [], []

    def metrics(net, crops, recipe, hardware):
        del crops, recipe, hardware
        weights.append({name: value.clone() for name, value in net.state_dict().items()})
        return {"score": scores[len(weights) - 1]}

    monkeypatch.setattr(training, "metrics", metrics)
    return scores, weights


def test_patience_stops_and_the_best_weights_come_back(run_in, tmp_path, scripted, rich_recipe):
    scores, weights = scripted
    scores += [0.9, 0.1, 0.5, 0.4, 0.5, 0.6]
    optimise = replace(rich_recipe.optimise, phases=(HEADS, replace(LAST, epochs=9)), patience=2)
    net = train(run_in(tmp_path, optimise=optimise))
    log = entries(tmp_path)
    # epoch 1 is the best of all, but patience begins with the last phase
    assert [entry["score"] for entry in log] == [0.9, 0.1, 0.5]
    assert [entry["best"] for entry in log] == [True, False, False]
    assert ["stopped" in entry for entry in log] == [False, False, True]
    assert log[-1]["stopped"] == "patience"
    assert "stopped" in session.line(folder.read_log(tmp_path)[-1], 10)
    assert session.ended(tmp_path, "", 10)
    for name, value in weights[0].items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=0, atol=0)
    train(run_in(tmp_path, optimise=optimise), resume=True)
    assert len(entries(tmp_path)) == 3


def test_patience_is_renewed_by_a_better_epoch_and_survives_a_stop(run_in, tmp_path, scripted, rich_recipe):
    scores, _ = scripted
    scores += [0.1, 0.2, 0.2, 0.3, 0.3, 0.1, 0.9]
    optimise = replace(rich_recipe.optimise, phases=(replace(LAST, epochs=9),), patience=2)

    def killed(items, total, description):
        del total
        for item in items:
            if description.startswith("epoch 6/"):
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        train(run_in(tmp_path, optimise=optimise), track=killed)
    train(run_in(tmp_path, optimise=optimise), resume=True)
    assert [entry["score"] for entry in entries(tmp_path)] == [0.1, 0.2, 0.2, 0.3, 0.3, 0.1]
    assert stored(tmp_path, "best.pt")["epoch"] == 4


def test_a_loss_that_is_no_number_ends_the_run(run_in, tmp_path, monkeypatch):
    monkeypatch.setattr(losses, "multi_task", lambda raw, *_: raw["KL"].sum() * math.nan)
    with pytest.raises(BadRecipe, match=r"loss is nan in epoch 1.*lower the learning rates"):
        train(run_in(tmp_path))
    assert not (tmp_path / "last.pt").exists()


def test_heads_alone_need_initial_weights(run_in, tmp_path, rich_recipe):
    optimise = replace(rich_recipe.optimise, phases=(HEADS,))
    with pytest.raises(BadRecipe, match=r"freezes stages.*--init"):
        train(run_in(tmp_path, optimise=optimise))


def test_without_an_average_the_weights_themselves_are_kept(run_in, tmp_path, rich_recipe):
    optimise = replace(rich_recipe.optimise, phases=(LAST,), ema=0.0, clip=0.0, optimiser="sgd")
    net = train(run_in(tmp_path, optimise=optimise))
    state = stored(tmp_path, "last.pt")
    assert state["average"] is None
    for name, value in state["model"].items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=0, atol=0)


# --- optimisers and rates --------------------------------------------------------------------------------


@pytest.fixture
def net(rich_recipe):
    torch.manual_seed(0)
    return networks.build(rich_recipe, init=None)


def test_groups_hold_every_trained_parameter_once_at_its_rate(net):
    groups = optimiser.parameter_groups(net, net.backbones, ALL, 0.1)
    listed = [p for group in groups for p in group["params"]]
    assert len({id(p) for p in listed}) == len(listed)
    assert {id(p) for p in listed} == {id(p) for p in net.parameters()}
    heads = {id(p) for p in net.heads.parameters()}
    for group in groups:
        assert all((p.ndim > 1) == (group["weight_decay"] == 0.1) for p in group["params"])
        assert all((id(p) in heads) == (group["peak"] == 2e-3) for p in group["params"])


def test_head_rate_is_the_backbones_unless_given(net):
    groups = optimiser.parameter_groups(net, net.backbones, LAST, 0.0)
    assert {group["lr"] for group in groups} == {1e-4}


def test_heads_phase_trains_heads_and_gives_back_what_it_took(net):
    trainable = frozenset(net.parameters())
    frozen = next(iter(optimiser.parameters_of(net.backbones)))
    trainable -= {frozen}
    optimiser.select_trained(net, net.backbones, HEADS, trainable)
    assert {p for p in net.parameters() if p.requires_grad} == set(net.heads.parameters())
    optimiser.select_trained(net, net.backbones, ALL, trainable)
    assert {p for p in net.parameters() if p.requires_grad} == trainable
    optimiser.training_mode(net, net.backbones, HEADS)
    assert not any(m.training for b in net.backbones for m in b.modules())
    assert net.dropout.training
    optimiser.training_mode(net, net.backbones, ALL)
    assert all(b.training for b in net.backbones)


@pytest.mark.parametrize(
    ("name", "kind", "decay_enters_the_step"),
    [("adam", torch.optim.Adam, True), ("adamw", torch.optim.AdamW, False), ("sgd", torch.optim.SGD, True)],
)
def test_optimisers_are_what_they_are_called(net, rich_recipe, name, kind, decay_enters_the_step):
    built = optimiser.build(
        net, net.backbones, ALL, replace(rich_recipe.optimise, optimiser=name, weight_decay=0.1)
    )
    assert type(built) is kind
    assert {group["weight_decay"] for group in built.param_groups} == {0.0, 0.1}
    if name == "sgd":
        assert all(group["nesterov"] and group["momentum"] == 0.9 for group in built.param_groups)
    # with no gradient but the decay's, Adam steps by about its rate, decoupled decay by rate x decay x weight
    head = net.heads["KL"].weight
    before = head.detach().clone()
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    built.step()
    step = (head.detach() - before).abs().max()
    plain = 2e-3 * 0.1 * before.abs().max()
    if name == "adam":
        assert step > 5 * plain
    elif name == "adamw":
        torch.testing.assert_close(step, plain, rtol=1e-2, atol=0)
    assert decay_enters_the_step == (name != "adamw")


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 0.02), (0.5, 0.51), (1, 1.0), (2.25, math.cos(math.pi / 16) ** 2), (6, 0.5), (11, 0.0), (99, 0.0)],
)
def test_cosine_schedule_by_hand(epoch, expected):
    phase = Phase(epochs=11, lr=1.0, schedule="cosine", warmup=1)
    assert optimiser.schedule(epoch, phase) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("total", [1, 2, 7, 40, 333])
def test_one_cycle_is_torchs(total):
    parameter = nn.Parameter(torch.zeros(1))
    theirs = torch.optim.Adam([parameter], lr=2e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=2e-3, total_steps=total, pct_start=0.15)
    phase = Phase(epochs=total, lr=2e-3, schedule="one_cycle")
    ours = optimiser.build(nn.Linear(1, 1), (), phase, Optimise(phases=(phase,), batch=1, optimiser="adam"))
    for step in range(total):
        optimiser.set_rate(ours, phase, step=step, steps=1)
        (expected,), *given = theirs.param_groups, *ours.param_groups
        for group in given:
            assert group["lr"] == pytest.approx(expected["lr"], rel=1e-9)
            assert group["betas"] == pytest.approx(expected["betas"], rel=1e-9)
        theirs.step()
        if step + 1 < total:
            cycle.step()


def test_constant_schedule_stays():
    assert [optimiser.schedule(e, Phase(epochs=3, lr=1.0)) for e in (0, 1.5, 3)] == [1.0, 1.0, 1.0]
    assert optimiser.schedule(0, Phase(epochs=3, lr=1.0, warmup=2)) == pytest.approx(0.02)


# --- TensorBoard -----------------------------------------------------------------------------------------


def test_curves_for_tensorboard(epochs_of):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = epochs_of[0]
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    losses = [(e.step, round(e.value, 4)) for e in events.Scalars("loss")]
    assert losses == [(entry["epoch"], pytest.approx(entry["loss"], abs=1e-4)) for entry in entries(folder)]
    assert "held_out_score" in events.Tags()["scalars"]


def test_absent_tensorboard_is_said(monkeypatch, caplog, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert session.event_writer(tmp_path, epoch=1) is None
    assert "tensorboard is not installed" in caplog.text
    assert not list(Path(tmp_path).iterdir())
