"""The two networks as ONNX graphs."""

from __future__ import annotations

import numpy as np
import torch

from kellgren.model.session import Session
from kellgren.train.graph import fold_normalisation, traced
from kellgren.train.localiser.networks import WINDOW1, WINDOW2, Level1, Level2


def graph(net: Level1 | Level2) -> bytes:
    """Export a level; film size and number of windows stay free. Normalisations are folded in place.

    Args:
        net: The network; it is moved to the CPU and into evaluation mode.

    Returns:
        The ONNX file's bytes.
    """
    net.to("cpu").eval()
    first = isinstance(net, Level1)
    example = torch.zeros(1, 1, WINDOW1 + 32, WINDOW1 + 64) if first else torch.zeros(2, 1, WINDOW2, WINDOW2)
    fold_normalisation(net, example)
    free = dict.fromkeys((2, 3) if first else (0,), torch.export.Dim.AUTO)
    outputs = ["knee", "box"] if first else ["knee", "box", "points"]
    data: bytes = traced(net, [example], ["film" if first else "window"], outputs, free).SerializeToString()
    return data


@torch.inference_mode()
def largest_difference(net: Level1 | Level2, data: bytes) -> float:
    """Largest difference between network and graph on random input of another size than the example's."""
    first = isinstance(net, Level1)
    shape = (1, 1, 3 * WINDOW1, 4 * WINDOW1) if first else (5, 1, WINDOW2, WINDOW2)
    image = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    session = Session(data)
    answers = session.run(list(session.outputs), {"film" if first else "window": image})
    expected = net(torch.from_numpy(image))
    return max(float(np.abs(a - e.numpy()).max()) for a, e in zip(answers, expected, strict=True))
