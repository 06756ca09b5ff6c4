"""A bundle's card in words, for `kellgren models inspect`."""

from __future__ import annotations

from typing import Any

from kellgren.model.bundle import Bundle


def describe(bundle: Bundle) -> str:
    """What the bundle grades, how it was made, and how well it does, as plain text."""
    card = bundle.card
    document = card.document
    looks = "the members' own" if card.members else ", ".join(("plain", *card.tta))
    lines = [
        f"{card.title}: {document['description']}",
        f"licence {document['licence']}, made {document['created']}, kellgren {document['kellgren_version']}",
        f"tasks: {', '.join(f'{task} ({classes})' for task, classes in card.tasks.items())}",
        f"side convention {card.side_convention}; test-time looks: {looks}",
    ]
    for entry in card.inputs:
        height, width = entry.size
        lines.append(f"input {entry.name}: {entry.view}, {height} x {width}, {entry.channels} channel(s)")
        lines += [f"    {_step(spec)}" for spec in entry.steps]
    for member, inner in zip(card.members, bundle.members, strict=True):
        tasks = ", ".join(inner.card.tasks)
        lines.append(f"member {inner.card.title}, weight {member.weight:g}, {card.vote} vote: {tasks}")
        lines += [f"    {line}" for line in _training(inner.card.document.get("training"))]
    lines += _training(document.get("training"))
    lines += _calibration(document.get("calibration"))
    lines += _validation(document.get("validation"))
    return "\n".join(lines)


def _step(spec: dict[str, Any]) -> str:
    return f"{spec['step']} " + ", ".join(f"{k} {v}" for k, v in spec.items() if k != "step")


def _training(training: dict[str, Any] | None) -> list[str]:
    if training is None:
        return []
    keys = (
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
    return ["training: " + ", ".join(f"{key} {training[key]}" for key in keys if key in training)]


def _calibration(calibration: dict[str, Any] | None) -> list[str]:
    if calibration is None:
        return ["not calibrated"]
    fitted = calibration["fitted"]
    temperatures = ", ".join(f"{task} {t:.2f}" for task, t in calibration["temperature"].items())
    lines = [f"calibrated on {fitted['n']} knees of {fitted['n_patients']} patients ({fitted['method']})"]
    lines += [f"    temperature {temperatures}"] if temperatures else []
    lines += [f"    Dirichlet map {', '.join(maps)}"] if (maps := calibration.get("dirichlet")) else []
    return lines


def _validation(validation: dict[str, Any] | None) -> list[str]:
    if validation is None:
        return ["not validated"]
    lines = [f"{validation['split']}: {validation['n']} knees, {validation['n_patients']} patients"]
    for task, figures in validation.items():
        if isinstance(figures, dict):
            shown = (
                f"{name} {figures[name]['value']:.3f}"
                for name in ("accuracy", "accuracy_pm1", "qwk", "auc_macro")
                if figures[name]["value"] is not None
            )
            lines.append(f"    {task}: {', '.join(shown)}")
    return lines
