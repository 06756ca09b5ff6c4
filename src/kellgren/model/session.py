"""The one way to onnxruntime: a checked graph, a stated number of threads, and answers that are numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from kellgren.errors import BadBundle
from kellgren.model import graph as graphs

if hasattr(ort, "disable_telemetry_events"):
    ort.disable_telemetry_events()

Shape = tuple[int | None, ...]
"""Sizes of an input or output; None where any will do."""

Tensor = npt.NDArray[np.float32]


class Session:
    """A graph ready to run on the processor. Safe to use from several threads at once.

    Args:
        graph: The ONNX file's bytes.
        threads: Threads that one evaluation may use. Always explicit: onnxruntime's own guess ignores the
            processors that a container may use.
        name: What error messages call the graph.
        path: The bundle or file that it is from, for error messages.

    Attributes:
        inputs: Shape of each input by name.
        outputs: Shape of each output by name.

    Raises:
        BadBundle: If the graph is refused (`kellgren.model.graph`) or onnxruntime cannot load it.
    """

    def __init__(
        self, graph: bytes, *, threads: int = 1, name: str = "graph", path: str | None = None
    ) -> None:
        self._name, self._path = name, path
        try:
            graphs.check(graph)
        except BadBundle as error:
            raise BadBundle(f"{name}: {error.message}", path=path) from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no base class but Exception
            raise BadBundle(f"onnxruntime cannot load {name}: {_first_line(error)}", path=path) from error
        self.inputs = {entry.name: _shape(entry.shape) for entry in self._session.get_inputs()}
        self.outputs = {entry.name: _shape(entry.shape) for entry in self._session.get_outputs()}

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Evaluate the graph.

        Args:
            outputs: Names of what is wanted.
            inputs: All inputs by name.

        Returns:
            The outputs in order, every number finite.

        Raises:
            BadBundle: If the graph does not run on these inputs, or answers with infinity, NaN or another
                shape than it says.
        """
        try:
            answers: list[Tensor] = self._session.run(list(outputs), dict(inputs))
        except Exception as error:
            raise BadBundle(f"{self._name} does not run: {_first_line(error)}", path=self._path) from error
        for name, answer in zip(outputs, answers, strict=True):
            if not fits(answer.shape, self.outputs[name]):
                raise BadBundle(f"{self._name} gives {name} of another shape than it says", path=self._path)
            if not np.isfinite(answer).all():
                raise BadBundle(f"{self._name} gives values of {name} that are not finite", path=self._path)
        return answers


def fits(shape: Shape, expected: Shape) -> bool:
    """Whether two shapes may be the same: one size by one, None being any."""
    return len(shape) == len(expected) and all(
        None in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=True)
    )


def _shape(sizes: Sequence[Any]) -> Shape:
    return tuple(size if isinstance(size, int) else None for size in sizes)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
