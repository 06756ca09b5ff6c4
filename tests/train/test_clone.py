"""A run goes on in its own copy of the program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.train
pytest.importorskip("torch")

import kellgren  # noqa: E402 - after the check that torch is there
from kellgren.errors import BadRecipe  # noqa: E402
from kellgren.train import clone, run  # noqa: E402

SOURCE = Path(kellgren.__file__).parents[2]


class Replaced(Exception):
    """Instead of becoming another program."""


@pytest.fixture
def became(monkeypatch):
    """What the process would have become."""
    seen = []

    def execve(program, arguments, environment):
        seen.append((program, arguments, environment))
        raise Replaced

    monkeypatch.setattr(clone.os, "execve", execve)
    return seen


@pytest.mark.skipif(not (SOURCE / ".git").exists(), reason="the package is installed, not a checkout")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows starts a child instead")
def test_a_run_goes_on_in_its_own_copy(became, tmp_path, monkeypatch):
    with pytest.raises(Replaced):
        clone.go_on(tmp_path / "run", ["train", "joint"])
    ((program, arguments, environment),) = became
    assert program == sys.executable
    assert arguments[1:] == ["-P", "-m", "kellgren", "train", "joint"]
    code = tmp_path / "run" / "code"
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(code)
    said = "import kellgren; from kellgren.train.run import commit; print(kellgren.__file__, commit())"
    answer = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-P", "-c", said], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == [str(code / "kellgren" / "__init__.py"), run.commit()]
    # a resumed run, and another process of the same training, find the copy as it is
    (code / "kellgren" / "marked").touch()
    for rank in (0, 1):
        with pytest.raises(Replaced):
            clone.go_on(tmp_path / "run", ["train"], rank=rank)
    assert (code / "kellgren" / "marked").exists()
    # the copy itself has nothing to do
    monkeypatch.setattr(kellgren, "__file__", str(code / "kellgren" / "__init__.py"))
    assert clone.go_on(tmp_path / "run", ["train"]) is None


def test_an_installed_package_is_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(kellgren, "__file__", str(tmp_path / "site-packages" / "kellgren" / "__init__.py"))
    assert clone.go_on(tmp_path / "run", ["train"]) is None
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not (SOURCE / ".git").exists(), reason="the package is installed, not a checkout")
def test_a_copy_that_never_comes_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(clone, "_WAIT", 0.2)
    with pytest.raises(BadRecipe, match="no copy of the program"):
        clone.go_on(tmp_path / "run", ["train"], rank=1)
