"""Steps on batches of tensors: the same bits as `kellgren.model.steps` on one image at a time."""

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from kellgren.model import steps  # noqa: E402 - after the check that torch is there
from kellgren.train.graders import recipe as recipes  # noqa: E402
from kellgren.train.graders import tensor_steps  # noqa: E402

CASES = [
    [{"step": "region", "top": 0.241, "left": 0.0184, "height": 0.5886, "width": 0.9632}],
    [{"step": "region", "top": 0.0, "left": 0.5, "height": 1.0, "width": 0.5}],
    [{"step": "patch", "part": "left"}],
    [{"step": "patch", "part": "right", "width": 0.333}, {"step": "mirror"}],
    [{"step": "patch", "part": "right", "width": 0.001}],
    [{"step": "normalise", "mean": 0.485, "std": 0.229}],
    [{"step": "normalise", "mean": 0.1, "std": 0.3}, {"step": "mirror"}, {"step": "patch", "part": "left"}],
    [],
]


@pytest.mark.parametrize("shape", [(299, 299), (40, 57)])
@pytest.mark.parametrize("specs", CASES, ids=lambda specs: "+".join(s["step"] for s in specs) or "none")
def test_batches_get_what_single_images_get(specs, shape):
    images = np.random.default_rng(5).random((3, *shape), dtype=np.float32)
    specs = steps.parse(specs)
    finished = tensor_steps.apply(torch.from_numpy(images)[:, None], specs)
    for image, tensor in zip(images, finished, strict=True):
        np.testing.assert_array_equal(tensor[0].numpy(), steps.apply(image, specs))


def test_three_channels_are_equal():
    images = torch.rand(2, 1, 8, 9)
    finished = tensor_steps.apply(images, steps.parse([{"step": "mirror"}]), channels=3)
    assert finished.shape == (2, 3, 8, 9)
    for channel in range(3):
        torch.testing.assert_close(finished[:, channel], images[:, 0].flip(-1), rtol=0, atol=0)


def test_recipes_may_finish_with_these_steps_and_no_others():
    assert set(tensor_steps.STEPS) == set(recipes.FINISHING) <= set(steps.STEPS)
