"""A bundle's card in words, for `kellgren models inspect`."""

from __future__ import annotations

from kellgren.model.bundle import Bundle
from kellgren.model.card import Calibration, Training, Validation
from kellgren.model.steps import Step

_TRAINING = (
    "recipe",
    "size",
    "backbone",
    "initial_weights",
    "epochs",
    "seeds",
    "folds",
    "hardware",
    "minutes",
    "commit",
)
_FIGURES = ("accuracy", "accuracy_pm1", "qwk", "auc_macro")


def describe(bundle: Bundle) -> str:
    """What the bundle grades, how it was made, and how well it does, as plain text."""
    card = bundle.card
    looks = "the members' own" if card.members else ", ".join(("plain", *card.tta))
    lines = [
        f"{card.title}: {card.description}",
        f"licence {card.licence}, made {card.created}, kellgren {card.kellgren_version}",
        f"tasks: {', '.join(f'{task} ({classes})' for task, classes in card.tasks.items())}",
        f"side convention {card.side_convention}; test-time looks: {looks}",
    ]
    for entry in card.inputs:
        height, width = entry.size
        lines.append(f"input {entry.name}: {entry.view}, {height} x {width}, {entry.channels} channel(s)")
        lines += [f"    {_step(step)}" for step in entry.steps]
    for member, inner in zip(card.members, bundle.members, strict=True):
        tasks = ", ".join(inner.card.tasks)
        lines.append(f"member {inner.card.title}, weight {member.weight:g}, {card.vote} vote: {tasks}")
        lines += [f"    {line}" for line in _training(inner.card.training)]
    lines += _training(card.training) + _calibration(card.calibration) + _validation(card.validation)
    if card.unknown_keys:
        lines.append(f"keys that this version does not know: {', '.join(card.unknown_keys)}")
    return "\n".join(lines)


def _step(step: Step) -> str:
    return f"{step.step} " + ", ".join(f"{name} {value}" for name, value in step.parameters.items())


def _training(training: Training | None) -> list[str]:
    if training is None:
        return []
    known = {key: _words(getattr(training, key)) for key in _TRAINING if key in training.model_fields_set}
    return ["training: " + ", ".join(f"{key} {value}" for key, value in known.items())]


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _calibration(calibration: Calibration) -> list[str]:
    fitted = calibration.fitted
    if fitted is None:
        return ["not calibrated"]
    temperatures = ", ".join(f"{task} {t:.2f}" for task, t in calibration.temperature.items())
    lines = [f"calibrated on {fitted.n} knees of {fitted.n_patients} patients ({fitted.method})"]
    lines += [f"    temperature {temperatures}"] if temperatures else []
    lines += [f"    Dirichlet map {', '.join(calibration.dirichlet)}"] if calibration.dirichlet else []
    return lines


def _validation(validation: Validation | None) -> list[str]:
    if validation is None:
        return ["not validated"]
    lines = [f"{validation.split}: {validation.n} knees, {validation.n_patients} patients"]
    for task, figures in validation.tasks.items():
        values = {name: getattr(figures, name).value for name in _FIGURES}
        shown = (f"{name} {value:.3f}" for name, value in values.items() if value is not None)
        lines.append(f"    {task}: {', '.join(shown)}")
    return lines
