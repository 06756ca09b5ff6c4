"""Where a network is trained: what exists is chosen, what does not is said, images lie channels last."""

import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from kellgren.errors import BadRecipe  # noqa: E402 - after the check that torch is there
from kellgren.train import hardware  # noqa: E402


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def processor(monkeypatch):
    """Say what the processor can do."""

    def pretend(*flags):
        monkeypatch.setattr(hardware, "_cpu", lambda: ("Some CPU", frozenset(flags)))

    return pretend


@pytest.mark.parametrize(("flags", "bf16"), [(("avx2",), False), (("avx2", "amx_bf16"), True)])
def test_number_format_follows_the_processor(processor, monkeypatch, flags, bf16):
    processor(*flags)
    monkeypatch.setattr(hardware, "processors", lambda: 2)
    chosen = hardware.choose("cpu")
    assert (chosen.device.type, chosen.bf16, chosen.threads) == ("cpu", bf16, 2)
    assert chosen.name == f"2 x Some CPU, {'bf16' if bf16 else 'fp32'}"
    assert (chosen.rank, chosen.world) == (0, 1)
    with chosen.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if bf16 else torch.float32)


@pytest.mark.parametrize("name", ["abacus", "cuda:99"])
def test_absent_device_is_said(name):
    with pytest.raises(BadRecipe, match=f"device '{name}' cannot be used"):
        hardware.choose(name)


def test_images_are_placed_channels_last():
    views = (torch.rand(2, 3, 4, 5), torch.rand(2, 1, 9, 9)[..., 2:5])
    placed = hardware.choose("cpu").place(views)
    for view, there in zip(views, placed, strict=True):
        assert there.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(there, view, rtol=0, atol=0)
