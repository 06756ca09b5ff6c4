"""Reading in child processes: the same films, and whatever happens to a child costs one file."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import corpus
from kellgren.errors import NotAKnee, UnreadableImage
from kellgren.grade import batch
from kellgren.grade.grader import Grader
from kellgren.model import bundle
from kellgren.read import Limits, Spacing, Stated, isolated, messages, read_bytes
from kellgren.read.isolated import IsolatedReader
from kellgren.simulate import draw_crop, write_png

linux = pytest.mark.skipif(not isolated.memory_can_be_limited(), reason="the platform cannot limit memory")


@pytest.fixture(scope="module")
def reader():
    with IsolatedReader() as reader:
        yield reader


WITH_TESTS = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
}


def same(one, other):
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert (one.padding is None) == (other.padding is None)
    if one.padding is not None:
        np.testing.assert_array_equal(one.padding, other.padding)
    plain = np.zeros((1, 1), np.float32)
    assert replace(one, pixels=plain, padding=None) == replace(other, pixels=plain, padding=None)


@pytest.mark.parametrize(
    "name", ["explicit.dcm", "JPEG-LS.dcm", "sequences.dcm", "PNG colour.png", "WEBP.webp"]
)
def test_films_are_the_same(reader, name):
    data = dict(corpus.sound())[name]
    stated = Stated(side="L", spacing=Spacing(0.3, 0.3, "user"), view="PA", weight_bearing=False)
    for words in (Stated(), stated):
        same(reader.read_bytes(data, name, stated=words), read_bytes(data, name, stated=words))


def test_padding_comes_back(reader):
    grey = np.tile(np.arange(80, dtype=np.uint8), (80, 1))
    rgba = np.dstack([grey, grey, grey, np.where(grey < 9, 0, 255).astype(np.uint8)])
    data = corpus.raster(rgba)
    same(reader.read_bytes(data, "film.png"), read_bytes(data, "film.png"))


def test_errors_are_the_same_and_the_child_goes_on(reader):
    sound = corpus.dicoms()["explicit"]
    computed = sound.replace(b"CS\x02\x00DX", b"CS\x02\x00CT")
    for data, kind in ((b"text", UnreadableImage), (sound[:5000], UnreadableImage), (computed, NotAKnee)):
        with pytest.raises(kind) as expected:
            read_bytes(data, "film.dcm")
        child = reader._idle.get_nowait()
        reader._idle.put(child)
        with pytest.raises(kind) as caught:
            reader.read_bytes(data, "film.dcm")
        assert caught.value.reason == expected.value.reason
        assert caught.value.path == Path("film.dcm")
        assert child.process.poll() is None


def test_limits_hold(reader):
    with pytest.raises(UnreadableImage, match="more than the 100"):
        reader.read_bytes(corpus.rasters()["PNG"], "film.png", limits=Limits(max_pixels=100))


def test_threads_have_children_of_their_own(reader):
    data = corpus.dicoms()["JPEG 2000"]
    expected = read_bytes(data, "film.dcm")
    films = []
    threads = [
        threading.Thread(target=lambda: films.append(reader.read_bytes(data, "film.dcm"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(films) == 3
    for film in films:
        same(film, expected)


def stand_in(monkeypatch, code):
    """Every child started meanwhile runs this code."""
    start = subprocess.Popen

    def started(command, **options):
        return start([command[0], "-c", code], **options)

    monkeypatch.setattr(isolated.subprocess, "Popen", started)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", "crashed the decoder (SIGABRT)"),
        ("import sys; sys.exit(3)", "crashed the decoder (exit code 3)"),
        ("import time; time.sleep(60)", "took more than 0.5 s"),
        (r"import sys; sys.stdout.write('\xff' * 99); sys.stdin.read()", "reading it"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_child_that_fails_costs_one_film(monkeypatch, code, reason):
    data = corpus.rasters()["PNG"]
    with IsolatedReader(seconds=0.5) as reader:
        with monkeypatch.context() as patch:
            stand_in(patch, code)
            with pytest.raises(UnreadableImage) as caught:
                reader.read_bytes(data, "film.png")
        assert reason in caught.value.reason
        assert caught.value.path == Path("film.png")
    with IsolatedReader() as reader:
        assert reader.read_bytes(data, "film.png").format == "PNG"


def test_a_child_that_died_idle_is_replaced():
    data = corpus.rasters()["PNG"]
    with IsolatedReader() as reader:
        reader.read_bytes(data, "film.png")
        child = reader._idle.get_nowait()
        reader._idle.put(child)
        child.process.kill()
        child.process.wait()
        assert reader.read_bytes(data, "film.png").format == "PNG"


@linux
def test_memory_is_limited():
    """A film that is allowed by the limits, but not in a child of 16 MiB."""
    large = np.zeros((3000, 3000), np.uint8)
    large[::2] = 200
    data = corpus.raster(large) + bytes(200_000)
    with IsolatedReader() as reader:
        assert reader.read_bytes(data, "film.png").pixels.shape == (3000, 3000)
    with IsolatedReader(memory=16 << 20) as reader:
        with pytest.raises(UnreadableImage, match=r"memory"):
            reader.read_bytes(data, "film.png")
        assert reader.read_bytes(corpus.rasters()["PNG"], "film.png").format == "PNG"


@linux
def test_a_grading_run_goes_on(tmp_path):
    """A film that its child has no memory for is one failed row between two that are graded."""
    large = np.zeros((3000, 3000), np.uint8)
    large[::2] = 200
    for name in "ac":
        write_png(draw_crop(np.random.default_rng(3), KL=2, side="R"), tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(corpus.raster(large) + bytes(200_000))
    with IsolatedReader(memory=16 << 20) as reader:
        grader = Grader(bundle.load("joint"), threads=1, reader=reader.read_bytes)
        outcomes = list(batch.grade_all(grader, batch.find([tmp_path]).sources, workers=2))
    results = {outcome.item.file: outcome.result for outcome in outcomes}
    assert isinstance(results["b.png"], UnreadableImage)
    assert "memory" in str(results["b.png"])
    for name in ("a.png", "c.png"):
        assert [knee.status in ("graded", "refer") for knee in results[name]] == [True]


@linux
def test_children_leave_with_their_parent():
    code = (
        "import corpus, os; from kellgren.read.isolated import IsolatedReader\n"
        "reader = IsolatedReader(); reader.read_bytes(corpus.rasters()['PNG'], 'film.png')\n"
        "print(reader._idle.get_nowait().process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env=WITH_TESTS,
        capture_output=True,
        text=True,
        check=True,
    )
    child = Path(f"/proc/{int(done.stdout)}/stat")
    gone = threading.Event()
    for _ in range(100):
        if not child.exists() or " Z " in child.read_text():
            break
        gone.wait(0.05)
    else:
        os.kill(int(done.stdout), signal.SIGKILL)
        pytest.fail("the child outlived its parent")


SOUND = {
    "shape": [2, 2],
    "padding": False,
    "bits": 8,
    "photometric": None,
    "spacing": None,
    "laterality": {"side": None, "source": None, "conflict": None, "both": False},
    "format": "PNG",
    "notes": [],
    "flags": [],
    "polarity": None,
    "orientation": 1,
}


def message(words, payload=bytes(16)):
    document = json.dumps(words).encode()
    return io.BytesIO(struct.pack("<I", len(document)) + document + payload)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [2, -2]},
        {"shape": [2.0, 2]},
        {"shape": [1 << 20, 1 << 20]},
        {"shape": None},
        {"format": "ELF"},
        {"photometric": "RGB"},
        {"bits": float("inf")},
        {"bits": None},
        {"spacing": {"row": 1, "column": 1, "source": "invented"}},
        {"spacing": 1},
        {"laterality": "R"},
        {"laterality": {"side": "X", "source": None, "conflict": None, "both": False}},
        {"notes": None},
        {"orientation": 9},
        {"pickle": "cos"},
    ],
)
def test_an_answer_is_not_believed(change):
    film = messages.receive_answer(message(SOUND), Path("film.png"), Limits())
    assert film.pixels.shape == (2, 2)
    with pytest.raises(ValueError):  # noqa: PT011 - of pydantic, or of the size
        messages.receive_answer(message(SOUND | change), Path("film.png"), Limits())


def test_messages_are_bounded_and_whole():
    stream = io.BytesIO()
    order = messages.Order("a\xff.png", "R", Stated(), Limits(), 1.0, 3)
    messages.send_order(stream, order, b"xyz")
    stream.seek(0)
    assert messages.receive_order(stream) == messages.Ordered(order, b"xyz")
    with pytest.raises(EOFError):
        messages.receive_order(stream)
    with pytest.raises(ValueError, match="length"):
        messages.receive_order(io.BytesIO(struct.pack("<I", 2 << 20)))
    with pytest.raises(ValueError, match="Order"):
        messages.receive_order(io.BytesIO(struct.pack("<I", 2) + b"[]"))


FORKS = """
import os, signal, time
if os.fork() == 0:
    {away}
    time.sleep(60)
    os._exit(0)
{parent}
"""


@pytest.mark.parametrize(
    ("away", "parent"),
    [
        ("pass", "os.abort()"),
        ("os.setsid()", "os.abort()"),
        ("os.setsid()", "time.sleep(60)"),
        ("pass", "os._exit(0)"),
    ],
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes of that kind")
def test_a_child_that_forks_does_not_hang_its_parent(monkeypatch, away, parent):
    started = time.monotonic()
    with IsolatedReader(seconds=1) as reader, monkeypatch.context() as patch:
        stand_in(patch, FORKS.format(away=away, parent=parent))
        with pytest.raises(UnreadableImage):
            reader.read_bytes(corpus.rasters()["PNG"], "film.png")
    assert time.monotonic() - started < 20


SPINS = """
import os, sys, time
from pathlib import Path
from kellgren.read import child
Path({pid!r}).write_text(str(os.getpid()))
def spin(ordered):
    Path({pid!r}).with_suffix(".busy").unlink()  # it may write no file
    {work}
child._answer = spin
child.main()
"""


@linux
@pytest.mark.parametrize("work", ["10 ** 10 ** 9", "time.sleep(60)", "exec('while True: pass')"])
def test_a_busy_child_leaves_with_a_killed_parent(tmp_path, work):
    """Raising to a power holds the interpreter, as a decoder does."""
    pid, busy = tmp_path / "child", tmp_path / "child.busy"
    busy.touch()
    code = (
        "import corpus, subprocess, sys; from kellgren.read import isolated\n"
        "start = subprocess.Popen\n"
        f"code = {SPINS.format(pid=str(pid), work=work)!r}\n"
        "isolated.subprocess.Popen = lambda c, **o: start([c[0], '-c', code, *c[4:]], **o)\n"
        "isolated.IsolatedReader(seconds=120).read_bytes(corpus.rasters()['PNG'], 'film.png')\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=WITH_TESTS)  # noqa: S603
    wait = threading.Event()
    for _ in range(1200):
        if not busy.exists():
            break
        wait.wait(0.05)
    parent.kill()
    parent.wait()
    child = Path(f"/proc/{int(pid.read_text())}/stat")
    for _ in range(200):
        if not child.exists() or " Z " in child.read_text():
            return
        wait.wait(0.05)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    pytest.fail("the child outlived its parent")


@linux
def test_a_child_without_a_parent_ends_by_itself():
    """Ended by the system, although the interpreter is never given back."""
    code = "from kellgren.read import child; child._limit_time(0.0); 10 ** 10 ** 9"
    done = subprocess.run([sys.executable, "-c", code], env=WITH_TESTS, timeout=60)  # noqa: S603
    assert done.returncode in (-signal.SIGXCPU, -signal.SIGALRM)


def test_the_core_and_the_command_line_start_without_posix_modules():
    code = (
        "import sys\n"
        "for name in ('fcntl', 'resource', 'pwd', 'grp', 'termios'): sys.modules[name] = None\n"
        "import kellgren, kellgren.read, kellgren.read.isolated, kellgren.grade.grader, kellgren.cli\n"
        "import kellgren.data, kellgren.evaluate, kellgren.writing\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
