"""What a head is asked for: the number of its outputs, their loss, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from kellgren.errors import BadRecipe, nearest
from kellgren.train.graders.recipe import Loss, Recipe
from kellgren.vocabulary import MISSING


class Objective:
    """What a head is asked for; by default one output per class, which is its logit."""

    @property
    def linear(self) -> bool:
        """Whether class logits are the raw outputs themselves, so that maps of these are maps of those."""
        return True

    def outputs(self, classes: int) -> int:
        """Number of outputs of a head of so many classes."""
        return classes

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """Mean loss over the knees that were read; zero, with zero gradient, where none was.

        Args:
            raw: (N, outputs).
            grades: (N,) int64, `MISSING` where not read.
        """
        raise NotImplementedError

    def logits(self, raw: Tensor) -> Tensor:
        """(N, outputs) -> (N, classes), whose softmax are the probabilities of the classes."""
        return raw


def mean_over_read(losses: Tensor, grades: Tensor) -> Tensor:
    """Mean of (N,) losses over the knees that were read.

    Losses of the others must be finite; they count as nothing and get no gradient.
    """
    read = grades != MISSING
    return (losses * read).sum() / read.sum().clamp(min=1)


def readable(grades: Tensor) -> Tensor:
    """Grades that can index: missing ones become 0, whose loss `mean_over_read` leaves out."""
    return grades.clamp(min=0)


@dataclass(frozen=True, slots=True)
class CrossEntropy(Objective):
    """-sum_k q_k log p_k with p = softmax(raw).

    The target is q = (1 - smoothing) soft + smoothing / K: label smoothing as in Szegedy 2016, section 7.

    Attributes:
        spread: Of the soft ordinal target, see `soft_ordinal`; 0 is one-hot.
        smoothing: Share of the target that is spread evenly over all classes.
    """

    spread: float = 0.0
    smoothing: float = 0.0

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`."""
        classes = raw.shape[1]
        target = soft_ordinal(readable(grades), classes, self.spread)
        target = (1 - self.smoothing) * target + self.smoothing / classes
        losses = -(target * F.log_softmax(raw.float(), dim=1)).sum(dim=1)
        return mean_over_read(losses, grades)


def soft_ordinal(grades: Tensor, classes: int, spread: float) -> Tensor:
    """Soft targets that spread over neighbouring grades.

    q_k proportional to exp(-(k - y)^2 / (2 spread^2)): the soft labels of Diaz & Marathe (CVPR 2019,
    eq. 4) with squared distance. With spread 0.5 the neighbours of y get 0.11 each.

    Args:
        grades: (N,) int64 in 0 .. classes-1.
        classes: Number of grades, C.
        spread: Standard deviation in grades; 0 gives one-hot targets.

    Returns:
        (N, C) float32, rows sum to 1.
    """
    if spread == 0:
        return F.one_hot(grades, classes).float()
    k = torch.arange(classes, device=grades.device)
    distance = (k[None, :] - grades[:, None]).float()
    return torch.softmax(-(distance**2) / (2 * spread**2), dim=1)


@dataclass(frozen=True, slots=True)
class Focal(Objective):
    """L = -alpha_y (1 - p_y)^gamma log p_y (Lin 2017, eq. 5; dual-stream ResNet-18, section 2.3 b).

    Attributes:
        classes: Number of classes.
        gamma: 0 is weighted cross entropy; the dual-stream paper chose 2.
        alpha: Weight of each class; none given means 1 each.

    Raises:
        BadRecipe: If there are weights, but not one per class.
    """

    classes: int
    gamma: float = 2.0
    alpha: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.alpha and len(self.alpha) != self.classes:
            raise BadRecipe(f"loss.alpha has {len(self.alpha)} weights for {self.classes} classes")

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`. The mean is over knees, not over weights, as in the papers."""
        read = readable(grades)
        log_p = F.log_softmax(raw.float(), dim=1).gather(1, read[:, None])[:, 0]
        # 1 - p as expm1: for p next to 1 the difference would lose all its digits, and its root's slope is
        # infinite at 0 where gamma is below 1
        miss = (-torch.expm1(log_p)).clamp(min=1e-12)
        weight = torch.tensor(self.alpha or (1.0,) * self.classes, device=raw.device)[read]
        return mean_over_read(-weight * miss**self.gamma * log_p, grades)


CHEN: Final = (
    (1.0, 3.0, 5.0, 7.0, 9.0),
    (3.0, 1.0, 3.0, 5.0, 7.0),
    (5.0, 3.0, 1.0, 3.0, 5.0),
    (7.0, 5.0, 3.0, 1.0, 3.0),
    (9.0, 7.0, 5.0, 3.0, 1.0),
)
"""The ordinal matrix that Chen 2019 found best for KL: row the reading, column the answer."""


@dataclass(frozen=True, slots=True)
class OrdinalMatrix(Objective):
    """L = sum_j (w_yj p_j)^2 with w = matrix + 1, and 0 on the diagonal, p = softmax(raw).

    Chen et al., Comput Med Imaging Graph 2019;75:84, in the form in which their code trains it (repository
    GradingKneeOA, weighted_loss): the probabilities times the costs, squared and summed, mean over knees.

    Attributes:
        classes: Number of classes.
        matrix: One row per reading; none given means `CHEN`'s rule, 1 + 2 |y - j|, for any number of classes.

    Raises:
        BadRecipe: If the matrix is not classes x classes.
    """

    classes: int
    matrix: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.matrix and {len(self.matrix), *map(len, self.matrix)} != {self.classes}:
            raise BadRecipe(f"loss.matrix is not {self.classes} x {self.classes}")

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`."""
        cost = self._costs(raw.device)[readable(grades)]
        p = F.softmax(raw.float(), dim=1)
        return mean_over_read(((cost * p) ** 2).sum(dim=1), grades)

    def _costs(self, device: torch.device) -> Tensor:
        """(K, K): what each answer costs for each reading."""
        k = torch.arange(self.classes, device=device)
        if self.matrix:
            penalty = torch.tensor(self.matrix, device=device)
        else:
            penalty = 1.0 + 2.0 * (k[:, None] - k[None, :]).abs()
        return (penalty + 1.0).fill_diagonal_(0.0)


_LEAST = 1e-6  # of a probability, so that its logarithm is finite


class Cumulative(Objective):
    """K - 1 questions "is the grade above k?" instead of K classes."""

    @property
    def linear(self) -> bool:
        """Classes are differences of sigmoids, or of their products."""
        return False

    def outputs(self, classes: int) -> int:
        """One per threshold."""
        return classes - 1


@dataclass(frozen=True, slots=True)
class Coral(Cumulative):
    """Consistent rank logits (Cao, Mirjalili & Raschka, Pattern Recognit Lett 2020;140:325, eq. 4).

    L = -sum_k [ log sigma(z_k) 1{y > k} + log(1 - sigma(z_k)) 1{y <= k} ], z_k = w x + b_k with one w for all
    thresholds, which is what keeps P(y > k) falling in k (`networks.heads.RankHead`).
    """

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`."""
        z = raw.float()
        above = (readable(grades)[:, None] > torch.arange(z.shape[1], device=z.device)).float()
        losses = -(F.logsigmoid(z) * above + F.logsigmoid(-z) * (1 - above)).sum(dim=1)
        return mean_over_read(losses, grades)

    def logits(self, raw: Tensor) -> Tensor:
        """Log P(y = k) = log [ P(y > k-1) - P(y > k) ].

        Where the thresholds' order is broken a difference is negative; it counts as the least probability.
        """
        return _log_classes(torch.sigmoid(raw.float()))


@dataclass(frozen=True, slots=True)
class Corn(Cumulative):
    """Conditional ordinal regression (Shi, Cao & Raschka, Pattern Anal Appl 2023;26:941, eq. 6).

    Each output is conditional, f_k = P(y > k | y > k-1), and learned on the knees with y > k-1 alone. The
    mean is over all answers to questions that arise, as published.
    """

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`; the mean is over the questions that arise."""
        z = raw.float()
        k = torch.arange(z.shape[1], device=z.device)
        asked = (grades[:, None] >= k) & (grades != MISSING)[:, None]  # y > k-1
        above = (grades[:, None] > k).float()
        losses = -(F.logsigmoid(z) * above + F.logsigmoid(-z) * (1 - above))
        return (losses * asked).sum() / asked.sum().clamp(min=1)

    def logits(self, raw: Tensor) -> Tensor:
        """Log P(y = k), by the chain rule P(y > k) = f_0 ... f_k: falling in k whatever the outputs are."""
        return _log_classes(torch.cumprod(torch.sigmoid(raw.float()), dim=1))


def _log_classes(above: Tensor) -> Tensor:
    """(N, K-1) P(y > k) -> (N, K) log P(y = k), normalised."""
    one = torch.ones_like(above[:, :1])
    edges = torch.cat([one, above, one - 1], dim=1)
    return (edges[:, :-1] - edges[:, 1:]).clamp(min=_LEAST).log().log_softmax(dim=1)


@dataclass(frozen=True, slots=True)
class CrossEntropyMse(Objective):
    """L = CE(softmax(raw[:K]), y) + share (raw[K] - y)^2 (Antony 2017, section 3.2: "multi-objective").

    Attributes:
        share: Weight of the squared error against cross entropy. The paper says "weighted ratio" and prints
            none; 1 is ours.
    """

    share: float = 1.0

    @property
    def linear(self) -> bool:
        """There is an output more than classes."""
        return False

    def outputs(self, classes: int) -> int:
        """One per class, and the number."""
        return classes + 1

    def loss(self, raw: Tensor, grades: Tensor) -> Tensor:
        """See `Objective.loss`."""
        values, read = raw.float(), readable(grades)
        classes = F.cross_entropy(values[:, :-1], read, reduction="none")
        number = (values[:, -1] - read) ** 2
        return mean_over_read(classes + self.share * number, grades)

    def logits(self, raw: Tensor) -> Tensor:
        """Those of the classes; the number is an aid in training, as in the paper's table of accuracies."""
        return raw[:, :-1]


KINDS: Final[dict[str, Callable[[Loss, int], Objective]]] = {
    "cross_entropy": lambda loss, classes: CrossEntropy(loss.spread if classes > 2 else 0.0, loss.smoothing),
    "focal": lambda loss, classes: Focal(classes, loss.gamma, loss.alpha),
    "ordinal_matrix": lambda loss, classes: OrdinalMatrix(classes, loss.matrix),
    "coral": lambda loss, classes: Coral(),
    "corn": lambda loss, classes: Corn(),
    "cross_entropy_mse": lambda loss, classes: CrossEntropyMse(loss.share),
}
"""Every objective by the name that a recipe uses; built from a recipe's `Loss` and the number of classes."""


def build(loss: Loss, classes: int) -> Objective:
    """The objective of a head.

    Args:
        loss: What the recipe says.
        classes: Number of grades. Tasks of two classes have no neighbours: `spread` is 0 for them.

    Raises:
        BadRecipe: Unknown kind, or settings that do not fit the number of classes.
    """
    if loss.kind not in KINDS:
        raise BadRecipe(f"loss.kind: unknown loss {loss.kind!r}", remedy=nearest(loss.kind, KINDS))
    return KINDS[loss.kind](loss, classes)


def multi_task(raw: Mapping[str, Tensor], grades: Mapping[str, Tensor], recipe: Recipe) -> Tensor:
    """Weighted sum over tasks and auxiliary questions; readings that are missing count in none.

    L = sum_t w_t L_t: the papers' sum of the tasks' losses, with weights.

    Args:
        raw: Head outputs by task and auxiliary name, (N, outputs).
        grades: By task, (N,) int64, `MISSING` where not read.
        recipe: Weights and losses.

    Returns:
        Scalar.
    """
    losses = [
        weight * build(recipe.loss_of(task), recipe.classes_of(task)).loss(raw[task], grades[task])
        for task, weight in recipe.tasks.items()
    ]
    for name, question in recipe.auxiliary.items():
        asked = auxiliary_grades(grades[question.of], question.classes)
        objective = build(question.loss, recipe.classes_of(name))
        losses.append(question.weight * objective.loss(raw[name], asked))
    return torch.stack(losses).sum()


def auxiliary_grades(grades: Tensor, classes: Mapping[int, int]) -> Tensor:
    """What an auxiliary question's answer is, `MISSING` where it is not asked (label masking).

    Args:
        grades: (N,) int64 readings of the task that it is about.
        classes: The class of each reading that counts.
    """
    answers = torch.full_like(grades, MISSING)
    for grade, answer in classes.items():
        answers = torch.where(grades == grade, torch.full_like(grades, answer), answers)
    return answers
