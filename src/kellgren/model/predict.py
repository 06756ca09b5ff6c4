"""Prediction with a bundle: crop in, calibrated probabilities out. NumPy and onnxruntime only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.errors import BadBundle
from kellgren.model import activation_maps, ood, steps, vote
from kellgren.model.activation_maps import Box
from kellgren.model.bundle import GRAPH, TYPICAL, Bundle
from kellgren.model.calibrators import Calibrator, Temperature, log_probabilities
from kellgren.model.session import Session, fits
from kellgren.model.tta import Look, looks, see
from kellgren.vocabulary import CROP_SIZE, TASKS, FloatArray, Side


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a bundle says of one crop, lateral and medial in their places.

    Attributes:
        probabilities: By task, (C,), calibrated where the card has a calibrator.
        maps: By task, (C, h, w) share of each position in the logit, in the crop's own orientation; empty
            where the graph has none. See `Model.predict` for what an ensemble's are.
        frame: The part of the crop that the maps cover; None without maps.
        maps_share: By task, the share of the vote whose maps these are: 1 of a network, less of an ensemble
            of which some members have none.
        distance: How far the crop is from ordinary ones (`kellgren.model.ood`), or None if not known.
        side: Side by which the crop was oriented, as given; None for a crop seen as it was cut.
        side_agreement: Probability, by the image alone, that the given side is right (with no side given,
            that it is a right knee); None if the bundle has no SIDE task.
    """

    probabilities: Mapping[str, FloatArray]
    maps: Mapping[str, npt.NDArray[np.float32]]
    distance: float | None
    side: Side | None
    side_agreement: float | None
    frame: Box | None = None
    maps_share: Mapping[str, float] = field(default_factory=dict)


def oriented_tasks(tasks: Mapping[str, int]) -> tuple[str, ...]:
    """Tasks whose meaning depends on the side: those that a mirror renames."""
    return tuple(task for task in tasks if TASKS[task].mirrored != task)


class Model:
    """A bundle ready to predict. Safe to use from several threads at once.

    Args:
        bundle: The opened bundle.
        threads: Threads that one evaluation of a graph may use.

    Raises:
        BadBundle: If a graph cannot be loaded or lacks an output that its card promises.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        self.card = bundle.card
        self.members = tuple(Model(member, threads=threads) for member in bundle.members)
        if self.card.kind != "grader":
            raise BadBundle(f"{self.card.title} is a {self.card.kind}, not a grader", path=str(bundle.root))
        if not self.members:
            self._session = Session(bundle.graph(), threads=threads, name=GRAPH, path=str(bundle.root))
            self._outputs = list(self._session.outputs)
            self._check_graph()
            self._typical = self._read_typical()
            blank = np.zeros((CROP_SIZE, CROP_SIZE), np.uint16)
            try:
                self.tensors(blank, Look(mirrored=False))
            except (TypeError, ValueError, cv2.error) as error:
                raise BadBundle(f"the card's steps do not run: {error}", path=str(bundle.root)) from error

    def _check_graph(self) -> None:
        """Compare the graph's inputs and outputs with those that the card promises."""
        where, inputs, outputs = str(self.bundle.root), self._session.inputs, self._session.outputs
        if inputs.keys() != {entry.name for entry in self.card.inputs}:
            raise BadBundle(f"the graph's inputs are {', '.join(inputs)}, the card has others", path=where)
        for entry in self.card.inputs:
            if not fits((None, entry.channels, *entry.size), inputs[entry.name]):
                raise BadBundle(f"the graph's input {entry.name} is not of the card's size", path=where)
        for task, classes in self.card.tasks.items():
            if f"logits_{task}" not in outputs:
                raise BadBundle(f"the graph has no output logits_{task}", path=where)
            for name, rest in ((f"logits_{task}", ()), (f"maps_{task}", (None, None))):
                shape = outputs.get(name, (None, classes, *rest))
                if len(shape) != 2 + len(rest) or shape[1] != classes:
                    raise BadBundle(f"the graph's {name} are not for {classes} grades", path=where)

    def _read_typical(self) -> ood.Typical | None:
        """What ordinary inputs look like to the network, if the bundle says so."""
        where, embedding = str(self.bundle.root), self._session.outputs.get("embedding")
        stored = self.bundle.arrays(TYPICAL)
        if stored is None:
            return None
        if embedding is None:
            raise BadBundle(f"there is a {TYPICAL}, but the graph has no embedding", path=where)
        try:
            typical = ood.Typical.from_arrays(stored)
        except ValueError as error:
            raise BadBundle(f"{TYPICAL} is wrong: {error}", path=where) from error
        if not fits(embedding, (None, len(typical.mean))):
            raise BadBundle(f"{TYPICAL} is of another network: its embeddings have another size", path=where)
        return typical

    @property
    def explains(self) -> bool:
        """Whether the bundle has class activation maps.

        A network has them if it has one `maps_` output per task, an ensemble if a member that grades KL does.
        """
        if self.members:
            return any(member.explains and "KL" in member.card.tasks for member in self.members)
        return all(f"maps_{task}" in self._outputs for task in self.card.tasks)

    @property
    def tells_side(self) -> bool:
        """Whether the bundle can read a knee's side off the image."""
        if self.members:
            return any(member.tells_side for member in self.members)
        return self.card.side_convention == "as_right" and "SIDE" in self.card.tasks

    def tensors(self, pixels: npt.NDArray[np.uint16], look: Look) -> dict[str, npt.NDArray[np.float32]]:
        """Every input of the graph for one crop, each (1, channels, h, w).

        Args:
            pixels: (H, W) film-stage pixels of the crop.
            look: How it is looked at, before the steps.
        """
        image = see(steps.unit_range(pixels), look)
        tensors = {}
        for entry in self.card.inputs:
            array = steps.apply(image, entry.steps)
            if array.shape != entry.size:
                raise BadBundle(
                    f"the steps of input {entry.name!r} give {array.shape}, the card says {entry.size}",
                    path=str(self.bundle.root),
                )
            tensors[entry.name] = np.repeat(array[None, None], entry.channels, axis=1)
        return tensors

    def run(
        self, tensors: Mapping[str, npt.NDArray[np.float32]], wanted: list[str] | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Raw outputs of the graph by name, for inputs of any batch size."""
        names = self._outputs if wanted is None else [name for name in wanted if name in self._outputs]
        return dict(zip(names, self._session.run(names, tensors), strict=True))

    def side(self, pixels: npt.NDArray[np.uint16]) -> float | None:
        """Probability that a crop shows a right knee, by one look; None if the bundle cannot tell.

        Of an ensemble the member with the most weight that can tell looks.

        Args:
            pixels: (H, W) film-stage pixels of the crop, bone bright.
        """
        if not self.tells_side:
            return None
        if self.members:
            voices = zip(self.members, self.card.members, strict=True)
            able = [(model, member.weight) for model, member in voices if model.tells_side]
            return max(able, key=lambda voice: voice[1])[0].side(pixels)
        raw = self.run(self.tensors(pixels, Look(mirrored=False)), ["logits_SIDE"])
        return float(self._calibrator("SIDE").probabilities(raw["logits_SIDE"][0].astype(np.float64))[0])

    def predict(self, pixels: npt.NDArray[np.uint16], side: Side | None, *, maps: bool = False) -> Prediction:
        """Grade one crop, once.

        Args:
            pixels: (H, W) film-stage pixels of the crop, bone bright.
            side: The knee's side; a crop of unknown side is seen as it was cut.
            maps: Also return class activation maps. The mean of a network's over positions is the logit
                of the crop as it was cut, before calibration. An ensemble's are the weighted mean of its
                members' maps, each calibrated as the member's logits are and laid where that member looks.
                Their mean is the weighted mean of the members' calibrated logits: up to a constant, the
                logarithm of the geometric mean of their probabilities. Members vote by probabilities, whose
                arithmetic mean no map can share out, so these maps show what speaks for a grade to the
                members and are not shares of the joined probability. Members without maps are left out;
                `maps_share` says how much of the vote is shown.
        """
        if self.members:
            return self._join([member.predict(pixels, side, maps=maps) for member in self.members], side)
        seen = looks(self.card.tta, mirrored=steps.mirrors(side, self.card.side_convention))
        wanted = [f"logits_{task}" for task in self.card.tasks] + ["embedding"]
        wanted += [f"maps_{task}" for task in self.card.tasks] if maps else []
        raw = self._see(pixels, seen, wanted)
        means = {task: values.mean(axis=0) for task, values in self._upright(raw, "logits", seen).items()}
        probabilities = {task: self._calibrator(task).probabilities(z) for task, z in means.items()}
        agreement = float(probabilities["SIDE"][0]) if "SIDE" in probabilities else None
        if self.card.oa_from == "sum":
            probabilities["OA"] = _osteoarthritis(probabilities["KL"])
        heat = self._heat(raw, seen) if maps else {}
        frame = None
        if heat:  # views side by side become one picture
            parts = self._places(pixels, seen[0])
            heat = {task: activation_maps.lay_parts(m, parts).astype(np.float32) for task, m in heat.items()}
            frame = activation_maps.union(parts)
        distance = None
        if self._typical is not None:
            distance = float(self._typical.distance(raw["embedding"]).mean())
        share = dict.fromkeys(heat, 1.0)
        return Prediction(probabilities, heat, distance, side, agreement, frame, share)

    def _see(
        self, pixels: npt.NDArray[np.uint16], seen: list[Look], wanted: list[str]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Raw outputs of all looks, two at a time: more at once take more memory and no less time."""
        answers = []
        for i in range(0, len(seen), 2):
            batches = [self.tensors(pixels, look) for look in seen[i : i + 2]]
            tensors = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
            answers.append(self.run(tensors, wanted))
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def _upright(
        self, raw: Mapping[str, npt.NDArray[np.float32]], kind: str, seen: list[Look]
    ) -> dict[str, FloatArray]:
        """Outputs by task with the mirrored looks' lateral and medial exchanged: (looks, C, ...)."""
        upright = {}
        for task in self.card.tasks:
            rows = []
            for row, look in enumerate(seen):
                turned = look.mirrored != seen[0].mirrored
                name = TASKS[task].mirrored if turned else task
                values = raw[f"{kind}_{name}"][row].astype(np.float64)
                rows.append(values[::-1] if name == "SIDE" and turned else values)
            upright[task] = np.stack(rows)
        return upright

    def _calibrator(self, task: str) -> Calibrator:
        return self.card.calibration.calibrators.get(task, Temperature())

    def _heat(
        self, raw: Mapping[str, npt.NDArray[np.float32]], seen: list[Look]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Mean class activation map over the looks as cut, turned back to the crop's own orientation."""
        if not self.explains:
            return {}
        upright = self._upright(raw, "maps", seen)
        heat = {}
        for task in self.card.tasks:
            shown = [(m, look) for m, look in zip(upright[task], seen, strict=True) if look.plain]
            back = [m[..., ::-1] if look.mirrored else m for m, look in shown]
            heat[task] = np.mean(back, axis=0).astype(np.float32)
        return heat

    def _places(self, pixels: npt.NDArray[np.uint16], look: Look) -> tuple[Box, ...]:
        """The parts of the crop that the inputs show and the maps cover, from left to right."""
        image = see(steps.unit_range(pixels), look)
        boxes = [activation_maps.footprint(image, entry.steps) for entry in self.card.inputs]
        return activation_maps.side_by_side(
            [activation_maps.mirrored(box) for box in boxes] if look.mirrored else boxes
        )

    def view(self, pixels: npt.NDArray[np.uint16], prediction: Prediction) -> npt.NDArray[np.float32] | None:
        """What a prediction's maps lie on, (h, w) in 0..1, in the crop's own orientation.

        Of a network that looks at one place its first input; otherwise that part of the crop, as it was cut;
        None of an ensemble without maps.
        """
        look = Look(steps.mirrors(prediction.side, self.card.side_convention))
        if self.card.inputs and len(self._places(pixels, look)) == 1:
            entry = self.card.inputs[0]
            shown = self.tensors(pixels, look)[entry.name][0, 0]
            shown = shown[:, ::-1] if look.mirrored else shown
        elif prediction.frame is not None:
            shown = activation_maps.cut(steps.unit_range(pixels), prediction.frame)
        else:
            return None
        low, high = float(shown.min()), float(shown.max())
        return np.asarray((shown - low) / max(high - low, 1e-6), dtype=np.float32)

    def _join(self, voices: Sequence[Prediction], side: Side | None) -> Prediction:
        """The ensemble's answer from its members'."""
        probabilities = {task: self._vote(task, voices) for task in self.card.tasks}
        if self.card.oa_from == "sum":
            probabilities["OA"] = _osteoarthritis(probabilities["KL"])
        distances = [p.distance for p in voices if p.distance is not None]
        agreements = [p.side_agreement for p in voices if p.side_agreement is not None]
        heat, share, frame = self._join_maps(voices)
        return Prediction(
            probabilities,
            heat,
            float(np.mean(distances)) if distances else None,
            side,
            float(np.mean(agreements)) if agreements else None,
            frame,
            share,
        )

    def _vote(self, task: str, voices: Sequence[Prediction]) -> FloatArray:
        """Joined and calibrated probabilities of one task, by the members who grade it."""
        able = [
            (p.probabilities[task][None], member.weight)
            for p, member in zip(voices, self.card.members, strict=True)
            if task in p.probabilities
        ]
        joined = vote.join([p for p, _ in able], [w for _, w in able], self.card.vote)[0]
        return self._calibrator(task).probabilities(log_probabilities(joined))

    def _join_maps(
        self, voices: Sequence[Prediction]
    ) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, float], Box | None]:
        """The members' maps on one grid, which share of the vote has maps, by task; and the grid's place."""
        known = [(p.frame, values.shape[1:]) for p in voices if p.frame for values in p.maps.values()]
        if not known:
            return {}, {}, None
        frame = activation_maps.union([box for box, _ in known])
        size = activation_maps.grid(frame, known)
        heat, share = {}, {}
        for task in self.card.tasks:
            laid, weights, votes = [], [], 0.0
            for model, member, p in zip(self.members, self.card.members, voices, strict=True):
                votes += member.weight if task in p.probabilities else 0.0
                if p.frame is not None and task in p.maps:
                    said = model._calibrator(task).maps(p.maps[task])
                    laid.append(activation_maps.lay(said, p.frame, frame, size))
                    weights.append(member.weight)
            if laid:
                heat[task] = np.average(laid, axis=0, weights=weights).astype(np.float32)
                share[task] = sum(weights) / votes
        return heat, share, frame


def _osteoarthritis(kl: FloatArray) -> FloatArray:
    """Probabilities of no and of some osteoarthritis, KL 2 or more."""
    low = float(kl[:2].sum())
    return np.array([low, 1.0 - low])
