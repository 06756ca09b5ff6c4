"""What goes wrong around a command ends in plain words and the right code: never in a traceback."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contract import rows_of
from kellgren import cli
from kellgren.errors import KellgrenError, WrongUse, nearest, printable
from kellgren.evaluate import evaluation
from kellgren.grade.grader import Grader

MARKER = "DOE^JANE^19500101"


def mounts(folder):
    """Whether a small disk can be mounted here, in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    command = [*namespace(), f"mount -t tmpfs -o size=64k tmpfs {folder}"]
    return not subprocess.run(command, check=False, capture_output=True).returncode  # noqa: S603


def namespace():
    return ["unshare", "-m", "sh", "-c"] if os.geteuid() == 0 else ["unshare", "-r", "-m", "sh", "-c"]


@pytest.fixture
def small_disk(tmp_path):
    """Run `kellgren ARGUMENTS... --out DISK/out` on a small disk; the result and what the disk held."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    if not mounts(disk):
        pytest.skip("no disk can be mounted here")

    def run(*arguments, options):
        command = " ".join(f"'{argument}'" for argument in arguments)
        script = (
            f"mount -t tmpfs -o {options} tmpfs {disk} && "
            f"{sys.executable} -m kellgren {command} --out {disk}/out; "
            f"code=$?; cp -a {disk} {kept}; exit $code"
        )
        done = subprocess.run(  # noqa: S603 - our own command
            [*namespace(), script],
            env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done, kept / "out"

    return run


@pytest.mark.parametrize("size", ["8k", "16k"])
def test_a_full_disk_leaves_whole_rows(small_disk, phantom_png, tmp_path, size):
    films = tmp_path / "films"
    films.mkdir()
    for index in range(60):
        (films / f"knee{index:03d}_R.png").hardlink_to(phantom_png)
    done, out = small_disk("grade", films, "--input", "crop", options=f"size={size}")
    assert done.returncode == 2, done.stderr
    assert "the disk is full" in done.stderr
    assert done.stderr.count("\n") == 1
    if (out / "grades.csv").is_file():
        assert (out / "grades.csv").read_bytes().endswith(b"\n")
        assert len(rows_of(out / "grades.csv")) < 60
    assert not list(out.glob("*.partial"))


def test_a_full_disk_leaves_no_half_metrics(small_disk, phantom_set):
    done, out = small_disk("evaluate", "--data", phantom_set, "--split", "val", options="size=8k")
    assert done.returncode == 2, done.stderr
    assert "the disk is full" in done.stderr
    assert "metrics.json" not in {path.name for path in out.iterdir()}
    assert not list(out.glob("*.partial"))
    if (out / "predictions.csv").is_file():
        assert len(rows_of(out / "predictions.csv", "predictions")) == 4


def test_a_read_only_disk_is_named(small_disk, phantom_png):
    done, _ = small_disk("grade", phantom_png, options="size=64k,ro")
    assert done.returncode == 2
    assert "read-only" in done.stderr


def test_an_output_folder_that_vanishes_ends_the_run(command, phantom_png, tmp_path, monkeypatch):
    out = tmp_path / "out"
    grade_bytes = Grader.grade_bytes

    def vanish(*arguments, **options):
        shutil.rmtree(out, ignore_errors=True)
        return grade_bytes(*arguments, **options)

    monkeypatch.setattr(Grader, "grade_bytes", vanish)
    answer = command("grade", phantom_png, "--out", out)
    assert answer.code == 2
    assert "removed meanwhile" in answer.err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "file", "file"),
        (lambda folder: folder / "file" / "below", "a part of the path is a file"),
        (lambda folder: folder / ("n" * 300), "the name is too long"),
        (lambda folder: Path("/proc/nowhere"), "not there"),
    ],
)
def test_an_output_folder_that_cannot_be_made(command, phantom_png, tmp_path, make, words):
    (tmp_path / "file").touch()
    answer = command("grade", phantom_png, "--out", make(tmp_path))
    assert answer.code == 2
    assert words in answer.err


def test_the_last_net_says_where_but_not_what(command, phantom_png, tmp_path, monkeypatch):
    """A planted bug whose message holds a patient's name."""

    def planted(*arguments, **options):
        raise LookupError(MARKER)

    monkeypatch.setattr(Grader, "grade_radiograph", planted)
    answer = command("grade", phantom_png, "--out", tmp_path / "out")
    assert answer.code == 70
    assert answer.err.startswith("kellgren: internal error: LookupError at kellgren/")
    assert answer.err.count("\n") == 1
    assert MARKER not in answer.out + answer.err
    monkeypatch.setattr(evaluation, "evaluate", planted)
    answer = command("evaluate", "--data", tmp_path, "--split", "val", "--out", tmp_path / "out2")
    assert MARKER not in answer.out + answer.err


@pytest.mark.parametrize("name", [b"mod\xe9l", b"\x1b[2Jmodel"])
@pytest.mark.parametrize("option", ["--model", "--metadata", "--out", None])
def test_names_that_no_terminal_should_see_are_escaped(start, phantom_png, tmp_path, name, option):
    path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - bytes
    arguments = ["grade", path] if option is None else ["grade", phantom_png, option, path]
    running = start(*arguments)
    out, err = running.communicate(timeout=120)
    assert "Traceback" not in err
    assert "\x1b" not in out + err
    assert "\udce9" not in out + err
    if option == "--out":
        assert running.returncode == 0, err
        assert printable(os.fsdecode(name)) in err
    else:
        assert running.returncode == 2
        assert printable(os.fsdecode(name)) in err.replace("\\udc", "\\x")


def test_a_reader_of_stdout_that_goes_away_is_no_failure(start, phantom_png):
    running = start("grade", phantom_png, "--json", stdout=subprocess.PIPE)
    running.stdout.close()
    running.stdout = None
    _, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout(start):
    with Path("/dev/full").open("w") as full:
        running = start("models", "list", stdout=full)
        _, err = running.communicate(timeout=120)
    assert running.returncode == 2
    assert err == "kellgren: standard output: the disk is full\n"


def test_pydicom_and_the_libraries_keep_quiet(start, phantoms, tmp_path):
    """A header whose character set would print a marker, and a TIFF whose tags libtiff complains about."""
    import pydicom

    from kellgren.simulate import write_dicom

    write_dicom(phantoms["R"], tmp_path / "film.dcm")
    film = pydicom.dcmread(tmp_path / "film.dcm")
    film.SpecificCharacterSet = "ISO_IR 100"
    film.PatientName = "X"
    film.save_as(tmp_path / "film.dcm")
    data = (tmp_path / "film.dcm").read_bytes()
    (tmp_path / "film.dcm").write_bytes(data.replace(b"ISO_IR 100", b"JANE\x1b[2J "))
    (tmp_path / "damaged.tif").write_bytes(
        b"II*\x00\x08\x00\x00\x00\x01\x00\xff\xff\x07\x00\xff\xff\xff\xff" * 8
    )
    running = start("grade", tmp_path, "--workers", "1")
    out, err = running.communicate(timeout=120)
    assert running.returncode in (0, 1)
    assert err == ""
    assert "JANE" not in out


def test_no_module_that_only_posix_has_is_needed(tmp_path, phantom_png):
    program = (
        "import sys\n"
        "for name in ('fcntl', 'resource', 'pwd', 'grp', 'termios'):\n    sys.modules[name] = None\n"
        "from kellgren.cli import main; main()"
    )
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", program, "grade", str(phantom_png), "--out", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "make sure that only one run writes into it" in done.stderr


def test_wrong_use_is_a_value_error_and_names_the_nearest():
    assert issubclass(WrongUse, ValueError)
    assert issubclass(WrongUse, KellgrenError)
    assert nearest("defualt", ("default", "best", "fast")) == "did you mean 'default'?"
    assert nearest("xyz", ("default", "best")) == "known: default, best"


def test_out_of_memory_is_said(command, phantom_png, monkeypatch):
    def exhausted(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(Grader, "__init__", exhausted)
    answer = command("grade", phantom_png)
    assert answer.code == 2
    assert "out of memory" in answer.err


def test_other_system_errors_have_words(command, phantom_png, monkeypatch):
    def broken(*arguments, **options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), MARKER)

    monkeypatch.setattr(Grader, "__init__", broken)
    answer = command("grade", phantom_png)
    assert answer.code == 70
    assert MARKER not in answer.err
