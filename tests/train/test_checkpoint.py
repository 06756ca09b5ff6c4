"""Initial weights from anybody's hand: a damaged or hostile file is a `BadRecipe`, soon, and runs nothing."""

import json
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402 - after the check that torch is there

from kellgren.errors import BadRecipe  # noqa: E402
from kellgren.train import checkpoint  # noqa: E402
from kellgren.train.graders import networks  # noqa: E402

SECONDS = 10


class Planted:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    from dataclasses import replace

    return replace(tiny_recipe, network=replace(tiny_recipe.network, freeze=()))


@pytest.fixture(scope="module")
def net(recipe):
    torch.manual_seed(0)
    return networks.build(recipe, init=None)


def repacked(path, out, *, change=lambda name, data: data, compression=zipfile.ZIP_STORED, more=()):
    """A checkpoint's zip rewritten, with its members changed."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", compression) as target:
        for member in source.infolist():
            target.writestr(member.filename, change(member.filename, source.read(member)))
        for name, data in more:
            target.writestr(name, data)


def header(tensors, *, length=None, data=b""):
    text = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def hostile_checkpoints(net, folder):
    """By name: how to make the file."""
    model = net.state_dict()
    good = folder / "good.pt"
    checkpoint.save(good, {"model": model, "epoch": 1})
    whole = good.read_bytes()
    first = next(name for name in model if name.endswith("weight"))
    rng = np.random.default_rng(0)

    def saved(state):
        return lambda path: torch.save(state, path)

    def raw(data):
        return lambda path: path.write_bytes(data)

    def changed(name, value):
        return saved({"model": {**model, name: value}, "epoch": 1})

    def flipped(seed):
        spots = np.random.default_rng(seed).integers(0, len(whole), 40)
        data = bytearray(whole)
        for spot in spots:
            data[spot] ^= 0xFF
        return raw(bytes(data))

    def pickled(protocol):
        return lambda path: path.write_bytes(
            pickle.dumps({"model": {}, "run": Planted(folder / "ran")}, protocol)
        )

    def code_inside(path):
        payload = pickle.dumps({"model": Planted(folder / "ran"), "epoch": 1}, 2)
        repacked(good, path, change=lambda name, data: payload if name.endswith("data.pkl") else data)

    files = {
        f"cut at {share:.0%}": raw(whole[: int(share * len(whole))]) for share in (0, 0.01, 0.3, 0.7, 0.999)
    }
    files |= {f"pickle {protocol}": pickled(protocol) for protocol in range(6)}
    files |= {f"noise {n}": raw(rng.bytes(n)) for n in (1, 8, 100, 10_000)}
    files |= {
        "code inside": code_inside,
        "compressed bomb": lambda path: repacked(
            good, path, compression=zipfile.ZIP_DEFLATED, more=[("good/data/999", bytes(50_000_000))]
        ),
        "many members": lambda path: repacked(
            good, path, more=[(f"good/data/x{i}", b"") for i in range(30_000)]
        ),
        "giant pickle": lambda path: repacked(
            good, path, change=lambda name, data: bytes(9_000_000) if name.endswith("data.pkl") else data
        ),
        "legacy format": lambda path: torch.save(
            {"model": model, "epoch": 1}, path, _use_new_zipfile_serialization=False
        ),
        "a list": saved([model]),
        "a tensor": saved(torch.zeros(3)),
        "no model": saved({"epoch": 1}),
        "no epoch": saved({"model": model}),
        "epoch a word": saved({"model": model, "epoch": "1"}),
        "epoch true": saved({"model": model, "epoch": True}),
        "model a tensor": saved({"model": torch.zeros(3), "epoch": 1}),
        "numbers for names": saved({"model": {1: torch.zeros(3)}, "epoch": 1}),
        "words for tensors": saved({"model": {first: "weights"}, "epoch": 1}),
        "empty": saved({"model": {}, "epoch": 1}),
        "other shape": changed(first, torch.zeros(1, 2, 3)),
        "expanded": changed(first, torch.zeros(1).expand(1000, 1000, 1000, 1000)),
        "complex": changed(first, torch.zeros(model[first].shape, dtype=torch.complex64)),
        "sparse": changed(first, torch.eye(3).to_sparse()),
        "meta": changed(first, torch.zeros(model[first].shape, device="meta")),
        "not finite": changed(first, torch.full_like(model[first], float("nan"))),
        "infinite": changed(first, torch.full_like(model[first], float("inf"))),
        "another network": saved({"model": {"layer.weight": torch.zeros(3)}, "epoch": 1}),
    }
    return files, {f"flipped {seed}": flipped(seed) for seed in range(12)}


def hostile_safetensors(net, folder):
    own = {name: value.contiguous() for name, value in net.backbone.model.state_dict().items()}
    good = folder / "good.safetensors"
    save_file(own, good)
    whole = good.read_bytes()
    name = "bn1.weight"
    size = int(np.prod(own[name].shape))

    def raw(data):
        return lambda path: path.write_bytes(data)

    def tensor(**changes):
        entry = {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]} | changes
        return raw(header({name: entry}, data=bytes(4 * size)))

    def deep(path):
        path.write_bytes(header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000))

    files = {
        f"cut at {share:.0%}": raw(whole[: int(share * len(whole))]) for share in (0, 0.001, 0.01, 0.5, 0.999)
    }
    files |= {f"noise {n}": raw(np.random.default_rng(n).bytes(n)) for n in (1, 7, 8, 9, 10_000)}
    files |= {
        f"header of {length}": raw(header(b"{}", length=length))
        for length in (2**63, 2**64 - 1, 2**40, 100, 0)
    }
    many = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(300_000)}
    files |= {
        "many tensors": raw(header(many)),
        "deep header": deep,
        "header not JSON": raw(header(b"not json")),
        "header a list": raw(header(b"[]")),
        "unknown type": tensor(dtype="F7"),
        "offsets beyond": tensor(data_offsets=[0, 2**50]),
        "offsets backwards": tensor(data_offsets=[4 * size, 0]),
        "giant shape": tensor(shape=[2**40]),
        "overflowing shape": tensor(shape=[2**32, 2**32, 2**32]),
        "negative shape": tensor(shape=[-1]),
        "shape of words": tensor(shape=["a"]),
        "other shape": tensor(shape=[size // 2, 2]),
        "nothing of ours": raw(
            header({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, data=bytes(4))
        ),
        "not finite": raw(
            header(
                {name: {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}},
                data=np.full(size, np.nan, "<f4").tobytes(),
            )
        ),
        "pickle": lambda path: path.write_bytes(pickle.dumps(Planted(folder / "ran"))),
    }
    return files


def refused(recipe, path):
    started = time.monotonic()
    with pytest.raises(BadRecipe) as caught:
        networks.build(recipe, init=str(path))
    assert time.monotonic() - started < SECONDS
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_hostile_checkpoints_are_refused(recipe, net, tmp_path):
    files, flipped = hostile_checkpoints(net, tmp_path)
    for number, (title, make) in enumerate(files.items()):
        path = tmp_path / f"hostile{number}.pt"
        make(path)
        try:
            refused(recipe, path)
        except BaseException as error:
            raise AssertionError(title) from error
    for number, make in enumerate(flipped.values()):
        # where only numbers are hit, the file may still be one
        path = tmp_path / f"flipped{number}.pt"
        make(path)
        try:
            checkpoint.load_weights(path)
        except BadRecipe as error:
            assert path.name in str(error)  # noqa: PT017 - either is right, an untyped error is not
    assert not (tmp_path / "ran").exists()


def test_hostile_safetensors_are_refused(recipe, net, tmp_path):
    for number, (title, make) in enumerate(hostile_safetensors(net, tmp_path).items()):
        path = tmp_path / f"hostile{number}.safetensors"
        make(path)
        try:
            refused(recipe, path)
        except BaseException as error:
            raise AssertionError(title) from error
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("init", ["", "x" * 5000, "a\0b.safetensors", "/dev/null", "no/such/file.pt"])
def test_what_is_no_file_is_said(recipe, init):
    with pytest.raises(BadRecipe):
        networks.build(recipe, init=init)


def test_what_was_saved_comes_back(net, tmp_path):
    checkpoint.save(tmp_path / "best.pt", {"model": net.state_dict(), "epoch": 7})
    weights, epoch = checkpoint.load_weights(tmp_path / "best.pt")
    assert epoch == 7
    for name, value in net.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=0)
