"""Two hundred bundles that nobody should be able to use, each a change of one small sound bundle.

The sound one grades KL by the mean of a 64 x 64 crop. Run as a program it opens the bundles that it is
given, one after the other, and says what became of each: whatever ends it is then known by name.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

import stub_bundle

FLOAT, INT64 = 1, 7


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while True:
        number, low = number >> 7, number & 0x7F
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


def field(number, value):
    """One protobuf field: a whole number, or the bytes of a message or string."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, dims, raw, kind=FLOAT, more=b""):
    return b"".join(field(1, d) for d in dims) + field(2, kind) + field(8, name) + field(9, raw) + more


def attribute(name, *, i=None, ints=None, graph=None, f=None, s=None):
    parts = [field(1, name)]
    if i is not None:
        parts += [field(3, i), field(20, 2)]
    if ints is not None:
        parts += [*(field(8, n) for n in ints), field(20, 7)]
    if graph is not None:
        parts += [field(6, graph), field(20, 5)]
    if f is not None:
        parts += [varint(2 << 3 | 5) + struct.pack("<f", f), field(20, 1)]
    if s is not None:
        parts += [field(4, s), field(20, 3)]
    return b"".join(parts)


def node(operator, inputs, outputs, *attributes, domain=""):
    parts = [field(1, n) for n in inputs] + [field(2, n) for n in outputs] + [field(4, operator)]
    return b"".join(parts + [field(5, a) for a in attributes] + ([field(7, domain)] if domain else []))


def value(name, dims):
    shape = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, shape)))


WEIGHTS = np.linspace(-1, 1, 5, dtype="<f4").reshape(1, 5)


def graph(*, nodes=None, weights=WEIGHTS, more=(), inputs=(), classes=5, model=b"", name="joint"):
    """An ONNX file of the sound network, or of a changed one."""
    if nodes is None:
        nodes = [node("GlobalAveragePool", [name], ["pooled"])]
    nodes = [
        *nodes,
        node("Flatten", ["pooled"], ["embedding"]),
        node("MatMul", ["embedding", "w"], ["logits_KL"]),
    ]
    body = [field(1, n) for n in nodes] + [field(2, "g")]
    body += [field(5, t) for t in (tensor("w", weights.shape, weights.astype("<f4").tobytes()), *more)]
    body += [field(11, value(n, ["n", 1, 64, 64])) for n in (name, *inputs)]
    body += [field(12, value("logits_KL", ["n", classes])), field(12, value("embedding", ["n", 1]))]
    return field(1, 8) + field(7, b"".join(body)) + field(8, field(1, "") + field(2, 18)) + model


CARD = {"tasks": {"KL": 5}, "oa_from": "sum", "side_convention": "none"}


def write(folder, content=None, arrays=None, golden=None, **changes):
    """The sound bundle with another graph, card, npz file or golden outputs."""
    content = graph() if content is None else content
    stub_bundle.write_bundle(folder, stub_bundle.card(**(CARD | changes)), graph=content)
    if arrays is not None:
        (folder / "typical.npz").write_bytes(arrays)
    if golden is not None:
        (folder / "golden").mkdir()
        (folder / "golden" / "outputs.json").write_text(golden, encoding="utf-8")
    return folder


def changed_card(place, new):
    """The sound bundle with one value of its card replaced, by keys parted with dots."""

    def make(folder):
        write(folder)
        document = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        *above, last = [int(key) if key.isdigit() else key for key in place.split(".")]
        target = document
        for key in above:
            target = target[key]
        target[last] = new
        (folder / "card.json").write_text(json.dumps(document), encoding="utf-8")
        return folder

    return make


def packed(change):
    """A zip of the sound bundle: `change` gets the open archive and the bundle's folder."""

    def make(folder):
        write(folder)
        path = folder.with_suffix(".zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in folder.iterdir():
                archive.write(file, file.name)
            change(archive)
        return path

    return make


def damaged(change):
    """A zip of the sound bundle whose bytes are changed."""

    def make(folder):
        path = packed(lambda archive: None)(folder)
        path.write_bytes(change(bytearray(path.read_bytes())))
        return path

    return make


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


TYPICAL = {
    "mean": np.zeros(1, np.float32),
    "components": np.ones((1, 1), np.float16),
    "variances": np.ones(1, np.float32),
    "residual": np.ones(1),
}


def _huge_npz():
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    header += b" " * (117 - len(header)) + b"\n"
    buffer = io.BytesIO(npz(**TYPICAL))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("more.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    return buffer.getvalue()


def _bomb(archive):
    archive.writestr("typical.npz", bytes(300 << 20))


def _flags(data, offset, new):
    """Change a byte of the first file's two headers: of its own and of the list's."""
    listed = data.index(b"PK\x01\x02")
    data[6 + offset], data[listed + 8 + offset] = new, new
    return data


def _graphs():
    conv = [tensor("k", (1, 1, 3, 3), np.ones(9, "<f4").tobytes())]

    def pooling(operator, *attributes, inputs=("joint",), more=()):
        first = node(operator, inputs, ["x"], *attributes)
        return graph(nodes=[first, node("GlobalAveragePool", ["x"], ["pooled"])], more=more)

    yield "empty", b""
    yield "text", b"hello, world"
    yield "zeros", bytes(1000)
    yield "no graph", field(1, 8)
    for operator in (
        "Loop", "If", "Scan", "SequenceConstruct", "SequenceAt", "SplitToSequence", "Optional",
        "RandomNormal", "RandomUniformLike", "Range", "Tile", "ConstantOfShape", "NonZero", "LSTM",
        "StringNormalizer", "Unknown", "",
    ):  # fmt: skip
        yield f"operator {operator}", pooling(operator)
    yield "endless loop", pooling("Loop", attribute("body", graph=graph()))
    yield "graph in a node", pooling("Relu", attribute("body", graph=b""))
    yield "foreign domain", graph(nodes=[node("Evil", ["joint"], ["pooled"], domain="evil")])
    yield "functions", graph(model=field(25, field(1, "f")))
    yield "training", graph(model=field(20, b""))
    for name, bad in (("strides", 0), ("strides", -1), ("dilations", 0), ("kernel_shape", 0), ("pads", -1)):
        yield (
            f"{name} {bad}",
            pooling("Conv", attribute(name, ints=[bad] * 2), inputs=["joint", "k"], more=conv),
        )
    for group in (0, -1, 1 << 40):
        yield f"group {group}", pooling("Conv", attribute("group", i=group), inputs=["joint", "k"], more=conv)
    yield (
        "huge pads",
        pooling("MaxPool", attribute("kernel_shape", ints=[2, 2]), attribute("pads", ints=[10**9] * 4)),
    )
    yield "blocks of 0", pooling("SpaceToDepth", attribute("blocksize", i=0))
    sizes = tensor("s", (4,), np.array([1, 1, 10**6, 10**6], "<i8").tobytes(), INT64)
    yield "huge expand", pooling("Expand", inputs=["joint", "s"], more=[sizes])
    yield "huge resize", pooling("Resize", inputs=["joint", "", "", "s"], more=[sizes])
    yield "wrong raw size", graph(more=[tensor("x", (3,), b"1234")])
    yield "huge tensor", graph(more=[field(1, 10**12) + field(2, FLOAT) + field(8, "x")])
    yield "negative tensor", graph(more=[tensor("x", (-1,), b"")])
    yield "tensor of strings", graph(more=[tensor("x", (1,), b"1234", kind=8)])
    yield "external data", graph(more=[tensor("x", (1,), b"1234", more=field(14, 1))])
    yield "external place", graph(more=[tensor("x", (1,), b"1234", more=field(13, field(1, "location")))])
    yield "deep dimensions", graph(more=[tensor("x", (1,) * 30, b"1234")])
    for number in (np.nan, np.inf, -np.inf):
        yield f"weights {number}", graph(weights=WEIGHTS + np.float32(number))
    yield "wide head", graph(weights=np.ones((1, 6), np.float32), classes=6)
    yield "narrow head", graph(weights=np.ones((1, 4), np.float32), classes=4)
    yield "lying head", graph(weights=np.ones((1, 6), np.float32))
    yield "second input", graph(inputs=["other"])
    yield "other input", graph(name="other")
    whole = graph()
    for share in range(1, 20):
        yield f"cut at {share}/20", whole[: len(whole) * share // 20]


STEPS = {
    "sigma 1e5": {"step": "gaussian_laplacian", "sigma": 1e5},
    "sigma 0": {"step": "gaussian_laplacian", "sigma": 0.0},
    "sigma nan": {"step": "gaussian_laplacian", "sigma": float("nan")},
    "weight -1": {"step": "laplacian_sharpen", "weight": -1.0},
    "tiles 0": {"step": "clahe", "clip": 2.0, "tiles": 0},
    "tiles 1e6": {"step": "clahe", "clip": 2.0, "tiles": 10**6},
    "clip inf": {"step": "clahe", "clip": float("inf")},
    "resize 1e9": {"step": "resize", "height": 10**9, "width": 64},
    "resize 0": {"step": "resize", "height": 0, "width": 64},
    "resize -1": {"step": "resize", "height": -1, "width": 64},
    "resize text": {"step": "resize", "height": "64", "width": 64},
    "resize 64.5": {"step": "resize", "height": 64.5, "width": 64},
    "share 0": {"step": "density_crop", "share": 0.0},
    "share 1e9": {"step": "density_crop", "share": 1e9},
    "region outside": {"step": "region", "top": 0.9, "left": 0.0, "height": 0.9, "width": 1.0},
    "region nan": {"step": "region", "top": float("nan"), "left": 0.0, "height": 0.9, "width": 1.0},
    "region empty": {"step": "region", "top": 0.0, "left": 0.0, "height": 0.0, "width": 1.0},
    "patch middle": {"step": "patch", "part": "middle"},
    "std 0": {"step": "normalise", "mean": 0.0, "std": 0.0},
    "std nan": {"step": "normalise", "mean": 0.0, "std": float("nan")},
    "percentiles": {"step": "percentile_range", "low": 99.0, "high": 1.0},
    "percentile 101": {"step": "percentile_range", "low": 0.0, "high": 101.0},
    "unknown": {"step": "__import__"},
    "a list": {"step": ["resize"]},
    "a mapping": {"step": "mirror", "x": {"a": [1]}},
    "a call": {"step": "resize", "image": 1, "height": 64, "width": 64},
    "other size": {"step": "resize", "height": 63, "width": 64},
    "a patch": {"step": "patch", "part": "left"},
}

VALUES = {
    "name": ["", "../x", "a b", "a\nb", "=cmd", 3, None, "x" * 200],
    "version": ["", "1/2", None],
    "kellgren_version": ["1.0.0", "99.0", "next", "", 1],
    "sha256": [None, {}, {"model.onnx": "0" * 64}, {"../model.onnx": "0" * 64}, {"model.onnx": 3}],
    "description": ["\x1b[2J", 5, "x" * 10**5],
    "tasks": [{}, {"KL": 4}, {"KL": "5"}, {"KL": 5, "HIP": 3}, {"SIDE": 2}, [], {"KL": 10**30}],
    "kind": ["localiser", "contour", "virus"],
    "tta": [["spin"], "flip", [["flip"]] * 3],
    "decision": [{"KL": "best"}, {"OA": "median"}],
    "calibration": [
        {"temperature": {"KL": 0}},
        {"temperature": {"KL": float("nan")}},
        {"temperature": {"KL": 1e300}},
        {"dirichlet": {"KL": {"weights": [[1]], "bias": [0]}}},
        {"dirichlet": {"KL": {"weights": [[float("inf")] * 5] * 5, "bias": [0] * 5}}},
        {"conformal": {"KL": {"threshold": float("nan"), "coverage": 0.9}}},
        {"out_of_distribution": {"threshold": float("-inf")}},
        {"side_certainty": 2},
        "hot",
    ],
    "inputs.0.size": [[0, 0], [64], [10**9, 64], [64, 64, 64], "64"],
    "inputs.0.channels": [0, 2, -1, "1"],
    "inputs.0.view": ["left_patch", "clahe", "film", "knee"],
    "inputs": [[], [{}], 5, None],
    "members": [[{"bundle": "a", "weight": 1}], [{"bundle": "../a", "weight": 1}]],
    "oa_from": ["nowhere"],
    "training": [{"minutes": float("nan")}, {"folds": "all"}, 3],
    "validation": [{"n": -1, "n_patients": 1, "split": "val"}, {"KL": 1}],
}


def _zips():
    for name in ("//x", "/x", "../x", "a/../../x", "a\\b", "C:x", "a//b", ".", "a\x01b"):
        yield (
            f"entry {name!r}",
            packed(lambda archive, name=name: archive.writestr(zipfile.ZipInfo(name), b"x")),
        )
    yield "two cards", packed(lambda archive: archive.writestr("card.json", "{}"))
    yield "bomb", packed(_bomb)
    yield "many files", packed(lambda archive: [archive.writestr(f"f{i}", b"") for i in range(2500)])
    yield "encrypted", damaged(lambda data: _flags(data, 0, 1))
    for method in (9, 12, 14, 99):
        yield f"method {method}", damaged(lambda data, method=method: _flags(data, 2, method))
    for share in range(1, 8):
        yield f"cut at {share}/8", damaged(lambda data, share=share: data[: len(data) * share // 8])
    yield "nothing listed", damaged(lambda data: data[data.index(b"PK\x05\x06") :])
    yield "long list", damaged(lambda data: data[:-10] + b"\xff\xff\xff\x7f" + data[-6:])


def _arrays():
    for key in TYPICAL:
        yield f"no {key}", npz(**{k: v for k, v in TYPICAL.items() if k != key})
        yield f"{key} nan", npz(**TYPICAL | {key: TYPICAL[key] * np.nan})
        yield f"{key} wrong shape", npz(**TYPICAL | {key: np.zeros((2, 3, 4), np.float32)})
    yield "objects", npz(**TYPICAL | {"mean": np.array([{}], dtype=object)})
    yield "text", npz(**TYPICAL | {"mean": np.array(["a"])})
    yield "other width", npz(**TYPICAL | {"mean": np.zeros(7, np.float32), "components": np.ones((1, 7))})
    yield "variance 0", npz(**TYPICAL | {"variances": np.zeros(1, np.float32)})
    yield "residual -1", npz(**TYPICAL | {"residual": np.array([-1.0])})
    yield "pickle", b"\x80\x04K\x01."
    yield "terabytes", _huge_npz()


GOLDEN = (
    "", "[]", "{}", "nothing", '{"a.png": 3}',
    '{"../card.json": {"side": "R", "probabilities": {"KL": [1]}}}',
    '{"/etc/passwd": {"side": null, "probabilities": {}}}', '{"a.png": {"side": "X", "probabilities": {}}}',
    '{"a.png": {"side": "R", "probabilities": {"KL": [NaN]}}}', '{"a.png": {"side": "R", "points": {}}}',
)  # fmt: skip


def cases():
    """Name and maker of each hostile bundle."""
    yield from ((f"graph {name}", lambda f, c=c: write(f, c)) for name, c in _graphs())
    for name, line in STEPS.items():
        yield f"step {name}", changed_card("inputs.0.steps", [line])
    for place, values in VALUES.items():
        for i, new in enumerate(values):
            yield f"card {place} {i}", changed_card(place, new)
    yield "card many steps", changed_card("inputs.0.steps", [{"step": "mirror"}] * 10**4)
    yield "card deep", lambda f: _text_card(f, '{"name": ' + "[" * 10**5)
    yield "card not UTF-8", lambda f: _text_card(f, "\udcff")
    yield "card number", lambda f: _text_card(f, "1" * 10**5)
    yield from ((f"zip {name}", make) for name, make in _zips())
    yield from ((f"npz {name}", lambda f, a=a: write(f, arrays=a)) for name, a in _arrays())
    yield from ((f"golden {i}", lambda f, g=g: write(f, golden=g)) for i, g in enumerate(GOLDEN))


def _text_card(folder, text):
    write(folder)
    (folder / "card.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder


def use(path):
    """Everything that is done with a bundle: what became of it, in a word."""
    from kellgren.errors import BadBundle
    from kellgren.grade import golden
    from kellgren.model import bundle
    from kellgren.model.predict import Model

    try:
        opened = bundle.load(path)
        opened.sha256()
        Model(opened).predict(np.full((299, 299), 40000, np.uint16), "R")
        if opened.holds("golden/outputs.json"):
            return "used" if golden.check(opened).passed else "BadBundle"
    except BadBundle as error:
        return "BadBundle" if str(error).isprintable() else f"unprintable: {error!r}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what this looks for
        return f"{type(error).__name__}: {error}"
    return "used"


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


if __name__ == "__main__":
    for path in sys.argv[1:]:
        started = time.monotonic()
        answer = use(path)
        sys.stdout.write(json.dumps([path, answer, time.monotonic() - started]) + "\n")
        sys.stdout.flush()
