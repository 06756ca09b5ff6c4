"""Objectives against values worked out by hand, and against formulas written out in numpy."""

import math

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from kellgren.errors import BadRecipe  # noqa: E402 - after the check that torch is there
from kellgren.train.graders import losses, recipe  # noqa: E402
from kellgren.train.graders.recipe import Loss  # noqa: E402

ALL = [
    Loss(),
    Loss(spread=0.5),
    Loss(smoothing=0.1),
    Loss(kind="focal", alpha=(0.133, 0.267, 0.133, 0.133, 0.333)),
    Loss(kind="ordinal_matrix"),
    Loss(kind="coral"),
    Loss(kind="corn"),
    Loss(kind="cross_entropy_mse"),
]


def random_raw(loss, n=7, classes=5, seed=0):
    objective = losses.build(loss, classes)
    generator = torch.Generator().manual_seed(seed)
    return objective, torch.randn(n, objective.outputs(classes), generator=generator, requires_grad=True)


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: f"{loss.kind}-{loss.spread}-{loss.smoothing}")
class TestEveryObjective:
    def test_unread_knees_count_as_nothing_and_get_no_gradient(self, loss):
        objective, raw = random_raw(loss)
        grades = torch.tensor([0, -1, 4, 2, -1, 3, 1])
        read = grades >= 0
        value = objective.loss(raw, grades)
        torch.testing.assert_close(value, objective.loss(raw[read], grades[read]))
        value.backward()
        assert (raw.grad[~read] == 0).all()
        assert (raw.grad[read].abs().sum(dim=1) > 0).all()

    def test_nothing_read_is_no_loss_and_no_gradient(self, loss):
        objective, raw = random_raw(loss)
        value = objective.loss(raw, torch.full((7,), -1))
        value.backward()
        assert value.item() == 0.0
        assert not raw.grad.any()

    def test_class_logits_are_of_probabilities(self, loss):
        objective, raw = random_raw(loss)
        logits = objective.logits(raw)
        assert logits.shape == (7, 5)
        assert torch.isfinite(logits).all()
        if not objective.linear and loss.kind != "cross_entropy_mse":
            torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(7))
        if objective.linear:
            assert logits is raw

    def test_extreme_outputs_stay_finite_in_half_precision(self, loss):
        objective, raw = random_raw(loss)
        extreme = (raw.detach() * 1e4).bfloat16().requires_grad_()
        value = objective.loss(extreme, torch.tensor([0, 1, 2, 3, 4, 0, -1]))
        value.backward()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        assert torch.isfinite(extreme.grad).all()
        assert torch.isfinite(objective.logits(extreme)).all()

    def test_autocast_changes_nothing(self, loss):
        objective, raw = random_raw(loss)
        grades = torch.tensor([0, 1, 2, 3, 4, 2, -1])
        with torch.autocast("cpu", torch.bfloat16):
            value = objective.loss(raw, grades)
        assert value.dtype == torch.float32
        assert torch.equal(value, objective.loss(raw, grades))

    def test_gradient_is_the_slope(self, loss):
        objective, raw = random_raw(loss, n=3)
        grades = torch.tensor([0, 3, 4])
        objective.loss(raw, grades).backward()
        step = 1e-2
        for place in np.ndindex(*raw.shape):
            shift = torch.zeros_like(raw)
            shift[place] = step
            with torch.no_grad():
                rise = objective.loss(raw + shift, grades) - objective.loss(raw - shift, grades)
            assert float(rise) / (2 * step) == pytest.approx(float(raw.grad[place]), abs=2e-3, rel=2e-3)

    def test_learning_it_finds_the_reading(self, loss):
        objective, raw = random_raw(loss, n=5)
        raw = raw.detach().requires_grad_()
        grades = torch.arange(5)
        optimiser = torch.optim.Adam([raw], lr=0.1)
        for _ in range(300):
            optimiser.zero_grad()
            objective.loss(raw, grades).backward()
            optimiser.step()
        assert objective.logits(raw).argmax(dim=1).tolist() == [0, 1, 2, 3, 4]


def test_soft_ordinal_by_hand():
    # exp(-d^2 / (2 * 0.25)) = e^-2 for neighbours, e^-8 two away, e^-18 three away
    weights = [math.exp(-2), 1.0, math.exp(-2), math.exp(-8), math.exp(-18)]
    expected = torch.tensor([w / sum(weights) for w in weights])
    target = losses.soft_ordinal(torch.tensor([1]), 5, 0.5)
    torch.testing.assert_close(target, expected[None])
    assert float(target[0, 0]) == pytest.approx(0.11, abs=0.005)  # as the docstring says


def test_soft_ordinal_is_symmetric_normalised_and_sharpens_to_one_hot():
    grades = torch.arange(5)
    target = losses.soft_ordinal(grades, 5, 0.8)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(5))
    torch.testing.assert_close(target, target.flip(0, 1))
    assert target.argmax(dim=1).tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(losses.soft_ordinal(grades, 5, 0.0), torch.eye(5))
    torch.testing.assert_close(losses.soft_ordinal(grades, 5, 0.05), torch.eye(5))


def test_soft_targets_by_hand():
    raw = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    target = losses.soft_ordinal(torch.tensor([2]), 4, 0.5)
    expected = -(target * torch.log_softmax(raw, dim=1)).sum()
    found = losses.build(Loss(spread=0.5), 4).loss(raw, torch.tensor([2]))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_is_torchs(smoothing):
    objective, raw = random_raw(Loss(smoothing=smoothing))
    grades = torch.tensor([0, 1, 2, 3, 4, 2, 2])
    expected = torch.nn.functional.cross_entropy(raw, grades, label_smoothing=smoothing)
    torch.testing.assert_close(objective.loss(raw, grades), expected)


def test_two_classes_have_no_neighbours():
    assert losses.build(Loss(spread=0.5), 2).spread == 0.0


def test_focal_by_hand():
    # p = (0.7, 0.2, 0.1), read 1, alpha 0.25, gamma 2: 0.25 * 0.8^2 * ln 5
    raw = torch.tensor([[0.7, 0.2, 0.1]]).log()
    found = losses.build(Loss(kind="focal", gamma=2.0, alpha=(1.0, 0.25, 1.0)), 3).loss(
        raw, torch.tensor([1])
    )
    assert float(found) == pytest.approx(0.25 * 0.64 * math.log(5))


def test_focal_without_focus_is_cross_entropy():
    objective, raw = random_raw(Loss(kind="focal", gamma=0.0))
    grades = torch.tensor([0, 1, 2, 3, 4, 2, 2])
    torch.testing.assert_close(objective.loss(raw, grades), torch.nn.functional.cross_entropy(raw, grades))


def test_chens_matrix_is_the_rule():
    by_rule = losses.build(Loss(kind="ordinal_matrix"), 5)
    by_matrix = losses.build(Loss(kind="ordinal_matrix", matrix=losses.CHEN), 5)
    raw, grades = torch.randn(5, 5, generator=torch.Generator().manual_seed(2)), torch.arange(5)
    torch.testing.assert_close(by_rule.loss(raw, grades), by_matrix.loss(raw, grades))


def test_ordinal_matrix_by_hand():
    # read 0, p = (.5, .3, .2): costs 0, 3 + 1, 5 + 1
    raw = torch.tensor([[0.5, 0.3, 0.2]]).log()
    found = losses.build(Loss(kind="ordinal_matrix"), 3).loss(raw, torch.tensor([0]))
    assert float(found) == pytest.approx((4 * 0.3) ** 2 + (6 * 0.2) ** 2)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_coral_written_out():
    objective, raw = random_raw(Loss(kind="coral"))
    raw = raw.detach()
    grades = np.array([0, 1, 2, 3, 4, 2, 0])
    z = raw.detach().numpy().astype(float)
    total = 0.0
    for row, grade in zip(z, grades, strict=True):
        for k, value in enumerate(row):
            p = sigmoid(value)
            total -= math.log(p) if grade > k else math.log(1 - p)
    assert float(objective.loss(raw, torch.from_numpy(grades))) == pytest.approx(total / 7, rel=1e-5)


def test_coral_classes_by_hand():
    above = torch.tensor([[0.9, 0.6, 0.25, 0.05]])
    logits = losses.build(Loss(kind="coral"), 5).logits(torch.logit(above))
    torch.testing.assert_close(
        logits.softmax(1), torch.tensor([[0.1, 0.3, 0.35, 0.2, 0.05]]), atol=1e-5, rtol=0
    )


def test_corn_written_out():
    objective, raw = random_raw(Loss(kind="corn"))
    raw = raw.detach()
    grades = np.array([0, 1, 2, 3, 4, 2, 0])
    z = raw.detach().numpy().astype(float)
    total, asked = 0.0, 0
    for k in range(4):
        for row, grade in zip(z, grades, strict=True):
            if grade > k - 1:  # only knees that passed the threshold before
                p = sigmoid(row[k])
                total -= math.log(p) if grade > k else math.log(1 - p)
                asked += 1
    assert float(objective.loss(raw, torch.from_numpy(grades))) == pytest.approx(total / asked, rel=1e-5)


def test_corn_classes_follow_the_chain_rule():
    conditional = torch.tensor([[0.8, 0.5, 0.5, 0.1]])
    logits = losses.build(Loss(kind="corn"), 5).logits(torch.logit(conditional))
    torch.testing.assert_close(
        logits.softmax(1), torch.tensor([[0.2, 0.4, 0.2, 0.18, 0.02]]), atol=1e-5, rtol=0
    )


def test_grade_as_class_and_number():
    raw = torch.tensor([[0.5, 0.3, 0.2, 0.0]]).clamp(min=1e-9).log()
    raw[0, 3] = 1.5
    found = losses.build(Loss(kind="cross_entropy_mse", share=0.5), 3).loss(raw, torch.tensor([1]))
    assert float(found) == pytest.approx(-math.log(0.3) + 0.5 * 0.25)


def test_auxiliary_questions_mask_what_they_do_not_ask():
    grades = torch.tensor([0, 1, 2, 3, 4, -1])
    assert losses.auxiliary_grades(grades, {0: 0, 1: 1, 2: 1}).tolist() == [0, 1, 1, -1, -1, -1]


def joint(**changes):
    document = recipe.document("joint", size="small")
    return recipe.from_dict(recipe.merge(document, changes))


def test_multi_task_weighs_tasks_and_questions():
    chosen = joint(auxiliary={"early": {"of": "KL", "classes": {0: 0, 1: 1, 2: 2}, "weight": 0.3}})
    generator = torch.Generator().manual_seed(1)
    names = (*chosen.tasks, *chosen.auxiliary)
    raw = {n: torch.randn(4, chosen.classes_of(n), generator=generator) for n in names}
    grades = {task: torch.tensor([0, 1, 1, -1]) for task in chosen.tasks}
    expected = sum(
        weight * losses.build(chosen.loss_of(t), chosen.classes_of(t)).loss(raw[t], grades[t])
        for t, weight in chosen.tasks.items()
    )
    expected += 0.3 * torch.nn.functional.cross_entropy(raw["early"][:3], grades["KL"][:3])
    torch.testing.assert_close(losses.multi_task(raw, grades, chosen), expected)


def test_an_unknown_loss_names_the_nearest():
    with pytest.raises(BadRecipe, match="'focal'"):
        recipe.from_dict({**recipe.document("joint"), "loss": {"KL": {"kind": "focall"}}})


@pytest.mark.parametrize(
    "wrong", [Loss(kind="focal", alpha=(1.0,)), Loss(kind="ordinal_matrix", matrix=((1.0,),))]
)
def test_settings_that_do_not_fit_are_the_recipes_error(wrong):
    with pytest.raises(BadRecipe, match="loss"):
        losses.build(wrong, 5)
