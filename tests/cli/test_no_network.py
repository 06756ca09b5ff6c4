"""No connection that the user did not name: grade, evaluate and models check open no socket.

Nor do they write anything but their output. Where a network namespace can be made (Linux), each command
runs in an empty one under strace, so that native code is watched as well; in CI a missing strace is a
failure there, not a skip. Elsewhere `socket.socket` is patched.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kellgren import cli

NETWORK = re.compile(r"\b(?:socket|connect)\(.*AF_INET")
WRITING = re.compile(
    r'\b(?:open|openat|creat)\([^"]*"(?P<opened>[^"]*)", [^)]*O_(?:WRONLY|RDWR|CREAT)|'
    r'\b(?:mkdir|mkdirat)\([^"]*"(?P<made>[^"]*)"'
)
CALLS = "socket,connect,open,openat,creat,mkdir,mkdirat"


def isolates() -> bool:
    """Whether an empty network namespace can be made here."""
    if shutil.which("unshare") is None:
        return False
    return not subprocess.run(namespace("true"), check=False).returncode  # noqa: S603 - our own command


def namespace(*command):
    """The command in an empty network namespace; one without root has a user namespace around it."""
    flags = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    return ["unshare", *flags, *command]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Run Python; gives the finished process, its network calls, and the files it opened for writing."""
    if not isolates():
        pytest.skip("no network namespace can be made: test_no_socket_in_this_process stands for it")
    if shutil.which("strace") is None:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("strace is not installed")

    def run(*arguments):
        folder = tmp_path_factory.mktemp("watched")
        home, log = folder / "home", folder / "calls"
        home.mkdir()
        kept = {
            name: os.environ[name] for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS") if name in os.environ
        }
        done = subprocess.run(  # noqa: S603 - our own command
            [
                *namespace(
                    "strace",
                    "-f",
                    "--seccomp-bpf",
                    "-qq",
                    "-s",
                    "400",
                    "-o",
                    str(log),
                    "-e",
                    f"trace={CALLS}",
                ),
                sys.executable,
                "-B",
                *map(str, arguments),
            ],
            env={**kept, "HOME": str(home), "TMPDIR": str(home)},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line for line in lines if " = -1 " not in line]
        places = [found["opened"] or found["made"] for line in lines if (found := WRITING.search(line))]
        calls = [line for line in log.read_text(errors="replace").splitlines() if NETWORK.search(line)]
        written = {(folder / place).resolve() for place in places if not place.startswith("/dev/")}
        assert not list(home.rglob("*")), done.stderr
        return done, calls, written

    return run


def test_the_watch_sees_sockets_and_files(watched, tmp_path):
    program = (
        f"import socket; socket.socket(socket.AF_INET).close(); open({str(tmp_path / 'x')!r}, 'w').close()"
    )
    _, calls, written = watched("-c", program)
    assert calls
    assert written == {tmp_path / "x"}


@pytest.mark.parametrize("command", ["grade", "evaluate", "models"])
def test_no_network_and_nothing_written_but_the_output(watched, phantom_set, tmp_path, command):
    out = tmp_path / "out"
    arguments = {
        "grade": ["grade", phantom_set / "images", "--out", out, "--explain"],
        "evaluate": ["evaluate", "--data", phantom_set, "--split", "val", "--out", out],
        "models": ["models", "check"],
    }[command]
    done, calls, written = watched("-m", "kellgren", *arguments)
    assert done.returncode == 0, done.stderr
    assert not calls
    assert bool(written) == (command != "models")
    assert all(path.is_relative_to(out) for path in written), sorted(written)


def test_no_socket_in_this_process(monkeypatch, phantom_png, tmp_path):
    """The same where no namespace can be made, as far as Python sees it."""

    def refuse(*arguments, **options):
        raise AssertionError(f"a socket was opened: {arguments} {options}")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(sys, "argv", ["kellgren", "grade", str(phantom_png), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert (tmp_path / "out" / "grades.csv").is_file()


def test_telemetry_is_off_in_every_process():
    """onnxruntime reads it once, when it is imported; a user's own setting does not turn it on."""
    code = "import kellgren, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {
        **os.environ,
        "ORT_DISABLE_TELEMETRY": "0",
        "PYTHONPATH": str(Path(cli.__file__).parents[2]),
    }
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
