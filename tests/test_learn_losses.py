"""Targets and losses against values worked out by hand."""

import math

import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from kellgren.learn import losses  # noqa: E402 - after the check that torch is there


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


def test_masked_cross_entropy_is_the_mean_over_the_read_knees():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    grades = torch.tensor([0, -1, 3, 2, -1, 1])
    read = grades >= 0
    expected = torch.nn.functional.cross_entropy(logits[read], grades[read])
    loss = losses.masked_cross_entropy(logits, grades, 0.0)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert (logits.grad[~read] == 0).all()
    assert (logits.grad[read].abs().sum(dim=1) > 0).all()


def test_soft_targets_by_hand():
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    target = losses.soft_ordinal(torch.tensor([2]), 4, 0.5)
    expected = -(target * torch.log_softmax(logits, dim=1)).sum()
    torch.testing.assert_close(losses.masked_cross_entropy(logits, torch.tensor([2]), 0.5), expected)


def test_nothing_read_is_no_loss_and_no_gradient():
    logits = torch.randn(3, 5, requires_grad=True)
    loss = losses.masked_cross_entropy(logits, torch.full((3,), -1), 0.5)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad.any()


def test_multi_task_weighs_its_tasks_and_keeps_two_classes_hard():
    generator = torch.Generator().manual_seed(1)
    logits = {"KL": torch.randn(4, 5, generator=generator), "OA": torch.randn(4, 2, generator=generator)}
    grades = {"KL": torch.tensor([0, 1, 2, -1]), "OA": torch.tensor([0, 0, 1, -1])}
    total = losses.multi_task(logits, grades, {"KL": 2.0, "OA": 0.5}, 0.5)
    kl = losses.masked_cross_entropy(logits["KL"], grades["KL"], 0.5)
    oa = torch.nn.functional.cross_entropy(logits["OA"][:3], grades["OA"][:3])
    torch.testing.assert_close(total, 2 * kl + 0.5 * oa)


def test_half_precision_logits_do_not_overflow():
    logits = torch.full((2, 5), 300.0, dtype=torch.bfloat16)
    logits[:, 0] = -300
    assert torch.isfinite(losses.masked_cross_entropy(logits, torch.tensor([0, 4]), 0.5))
