"""The command line: one row per file whatever the file is, exit codes, documents that fit their schemas."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML

from contract import rows_of, validate
from films import dataset, encode, knee, raster, write
from kellgren import cli
from kellgren.model import bundle
from kellgren.simulate import write_dicom, write_png


@pytest.fixture(scope="module")
def good(phantoms, tmp_path_factory):
    """Three files that can be graded: two PNG, one DICOM in a folder below."""
    folder = tmp_path_factory.mktemp("good")
    write_png(phantoms["R"], folder / "9000001R.png")
    write_png(phantoms["L"], folder / "9000002L.png", bits=16)
    (folder / "more").mkdir()
    write_dicom(phantoms["R"], folder / "more" / "film.dcm")
    return folder


EXAMPLES = Path(__file__).parents[2] / "examples" / "knees"
GOOD = ["9000001R.png", "9000002L.png", "more/film.dcm"]
BAD = {
    "a-empty.png": "empty",
    "b-text.png": "text, not an image",
    "c-truncated.png": "",
    "d-black.png": "one grey value",
    "e-video.dcm": "MPEG2",
    "z-gone.dcm": "",
}


@pytest.fixture(scope="module")
def mixed(good, tmp_path_factory):
    """The good files among bad ones of every kind."""
    folder = tmp_path_factory.mktemp("mixed")
    for name in GOOD:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((good / name).read_bytes())
    whole = (good / "9000001R.png").read_bytes()
    write(folder, "a-empty.png", b"")
    write(folder, "b-text.png", b"This is not a radiograph.\n")
    write(folder, "c-truncated.png", whole[: len(whole) // 2])
    write(folder, "d-black.png", raster(np.zeros((299, 299), np.uint8)))
    video = dataset(knee(), syntax=MPEG2MPML)
    video.PixelData = encapsulate([b"\x00\x00\x01\xb3" * 20])
    video["PixelData"].is_undefined_length = True
    write(folder, "e-video.dcm", encode(video))
    write(folder, "z-gone.dcm", (good / "more" / "film.dcm").read_bytes()[:3000])
    return folder


@pytest.fixture(scope="module")
def graded_good(good, tmp_path_factory):
    """`kellgren grade` on the good files, by the installed command."""
    out = tmp_path_factory.mktemp("out-good")
    done = subprocess.run(  # noqa: S603 - our own command
        [script(), "grade", str(good), "--out", str(out), "--workers", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done, out


def script():
    """The console script beside this interpreter."""
    return str(Path(sys.executable).parent / "kellgren")


# --- grade -------------------------------------------------------------------------------------------


def test_good_files_end_with_0(graded_good, good):
    done, out = graded_good
    assert done.returncode == 0, done.stderr
    assert "3 films, 3 knees: " in done.stdout
    assert done.stderr == f"-> {out / 'grades.csv'}, {out / 'run.json'}\n"
    rows = rows_of(out / "grades.csv")
    assert [row["file"] for row in rows] == GOOD
    assert [row["knee"] for row in rows] == [1, 1, 1]
    assert [(row["side"], row["side_source"]) for row in rows] == [("R", "name"), ("L", "name"), ("R", "tag")]
    for row in rows:
        assert row["status"] in ("graded", "refer")
        assert sum(row[f"KL_p{k}"] for k in range(5)) == pytest.approx(1, abs=1e-5)
        assert row["KL_low"] <= row["KL"] <= row["KL_high"]
        assert row["KL_expected"] == pytest.approx(sum(k * row[f"KL_p{k}"] for k in range(5)), abs=1e-4)
        assert (row["x0"], row["y0"], row["x1"], row["y1"]) == (0, 0, 299, 299)
        assert row["model"] == bundle.load().card.title
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    validate("run", run)
    assert run["exit_code"] == 0
    assert [entry["file"] for entry in run["files"]] == GOOD
    assert run["counts"]["graded"] + run["counts"]["refer"] == 3
    assert run["model"]["sha256"]["model.onnx"] == bundle.load().card.sha256["model.onnx"]
    assert run["model"]["sha256"].keys() == {"card.json", "model.onnx"}
    for row, entry in zip(rows, run["files"], strict=True):
        digest = hashlib.sha256((good / row["file"]).read_bytes()).hexdigest()
        assert row["image_sha256"] == entry["image_sha256"] == digest
        assert row["root"] is None
        assert entry["root"] == ""
    assert sorted(path.name for path in out.iterdir()) == ["grades.csv", "run.json"]


@pytest.mark.parametrize("workers", [1, 3])
def test_bad_files_are_rows_with_a_reason_and_touch_no_other(command, graded_good, mixed, tmp_path, workers):
    answer = command("grade", mixed, "--out", tmp_path, "--workers", workers)
    assert answer.code == 1
    rows = rows_of(tmp_path / "grades.csv")
    assert [row["file"] for row in rows] == sorted([*GOOD, *BAD])
    by_file = {row["file"]: row for row in rows}
    for name, words in BAD.items():
        row = by_file[name]
        assert row["status"] == "failed", name
        assert words in row["reason"], (name, row["reason"])
        assert len(row["reason"]) > 10
        assert str(mixed) not in row["reason"]
        assert name in answer.out
        assert row["KL"] is None
    lines = (tmp_path / "grades.csv").read_bytes().splitlines()
    expected = (graded_good[1] / "grades.csv").read_bytes().splitlines()
    assert lines[0] == expected[0]
    assert [line for line in lines if line.startswith(tuple(n.encode() for n in GOOD))] == expected[1:]
    run = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    validate("run", run)
    assert run["exit_code"] == 1
    assert run["counts"]["failed"] == len(BAD)
    assert {e["file"]: e["reason"] for e in run["files"] if e["status"] == "failed"} == {
        name: by_file[name]["reason"] for name in BAD
    }


def test_json_is_one_document_on_stdout(command, mixed, tmp_path):
    answer = command("grade", mixed, "--out", tmp_path, "--json", "--workers", 1)
    assert answer.code == 1
    document = json.loads(answer.out)
    validate("run", document["run"])
    assert document["run"]["exit_code"] == 1
    assert len(document["rows"]) == len(GOOD) + len(BAD)
    table = rows_of(tmp_path / "grades.csv")
    for row, written in zip(document["rows"], table, strict=True):
        validate("grades", {**dict.fromkeys(written), **row})
        for column, value in row.items():
            expected = pytest.approx(value, abs=1e-6) if isinstance(value, float) else value
            assert written[column] == expected, column


def test_a_path_that_does_not_exist_is_wrong_use(command, good, tmp_path):
    answer = command("grade", good / "9000001R.png", good / "nothing.png", "--out", tmp_path / "out")
    assert answer.code == 2
    assert f"{good / 'nothing.png'}: there is no such file or folder" in answer.err
    assert not (tmp_path / "out").exists()


def test_two_folders_with_the_same_names_stay_apart(command, good, tmp_path):
    folders = []
    for name, source in (("first", "9000001R.png"), ("second", "9000002L.png")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "knee.png").write_bytes((good / source).read_bytes())
        folders.append(tmp_path / name)
    answer = command("grade", *folders, "--out", tmp_path / "out", "--explain", "--json")
    assert answer.code == 0
    rows = rows_of(tmp_path / "out" / "grades.csv")
    assert [(row["root"], row["file"]) for row in rows] == [(str(folder), "knee.png") for folder in folders]
    assert len({row["image_sha256"] for row in rows}) == 2
    pictures = sorted(path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("*.knee1.png"))
    assert pictures == ["explain/1-first/knee.png.knee1.png", "explain/2-second/knee.png.knee1.png"]
    files = json.loads(answer.out)["run"]["files"]
    assert [(entry["root"], entry["file"]) for entry in files] == [(r["root"], r["file"]) for r in rows]


def test_without_out_the_answer_is_on_the_screen_and_nothing_is_written(command, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = command("grade", good)
    assert answer.code == 0
    assert answer.err == ""
    first = answer.out.splitlines()[0]
    for name in ("file", "knee", "side", "KL", "OA", "features", "joint space", "flag"):
        assert name in first
    for name in GOOD:
        assert name in answer.out
    assert " mm" in answer.out
    document = json.loads(command("grade", good, "--json").out)
    validate("run", document["run"])
    assert len(document["rows"]) == 3
    assert not list(tmp_path.iterdir())


def test_many_knees_are_counted_by_grade_and_reason(command, good, tmp_path):
    for index in range(31):
        (tmp_path / f"knee{index:02d}_R.png").hardlink_to(good / "9000001R.png")
    (tmp_path / "black.png").write_bytes(raster(np.zeros((299, 299), np.uint8)))
    answer = command("grade", tmp_path)
    assert answer.code == 1
    assert "knee05_R.png" not in answer.out
    assert "32 films, 31 knees: " in answer.out
    assert "1 not graded" in answer.out
    assert "Not graded:" in answer.out
    grades = dict(re.findall(r"KL ([0-4]) +(\d+)", answer.out))
    assert sum(map(int, grades.values())) == 31


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_and_verbose_work_before_and_after_the_command(command, good, tmp_path, place):
    words = ["grade", good / "9000001R.png", "-o", tmp_path]
    quiet = command(*(["-q", *words] if place == "before" else [*words, "-q"]))
    assert (quiet.code, quiet.err) == (0, "")
    loud = command(*(["-v", *words] if place == "before" else [*words, "-v"]))
    assert "nothing to do" in loud.err


def test_explain_without_out_is_wrong_use(command, good):
    answer = command("grade", good, "--explain")
    assert answer.code == 2
    assert "--out" in answer.err


def test_no_help_shows_a_type_of_the_program(command):
    def helps(app, words=()):
        for info in app.registered_commands:
            yield command(*words, info.name or info.callback.__name__.replace("_", "-"), "--help")
        for group in app.registered_groups:
            yield from helps(group.typer_instance, (*words, group.name))

    texts = [answer.out for answer in helps(cli.app)]
    assert len(texts) == 22
    for text in texts:
        assert not re.search(r"<(?:list|str|int|float|path|file|dir|\w+ range)\b|x[<>]=|\{", text), text
        assert "-v, --verbose" in text
        assert "-q, --quiet" in text


def test_users_side_decides(command, phantom_png, tmp_path):
    command("grade", phantom_png, "--out", tmp_path, "--side", "R")
    (row,) = rows_of(tmp_path / "grades.csv")
    assert (row["side"], row["side_source"]) == ("R", "user")


def test_explain_draws_a_picture(command, good, tmp_path):
    answer = command("grade", good / "9000001R.png", good / "more", "--out", tmp_path, "--explain")
    assert answer.code == 0
    pictures = sorted((tmp_path / "explain").rglob("*.png"))
    assert [p.name for p in pictures] == ["9000001R.png.knee1.png", "film.dcm.knee1.png"]
    for picture in pictures:
        pixels = np.asarray(Image.open(picture).convert("RGB"))
        assert min(pixels.shape[:2]) > 300
        assert pixels.std() > 10
        view = pixels[60:360, 20:620]
        assert len(np.unique(view)) > 50


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grade"], "PATH"),
        (["grade", "x.png"], "no such file"),
        (["grade", ".", "--out", "o", "--side", "B"], "--side"),
        (["grade", EXAMPLES, "--out", "o", "--model", "no-such-model"], "no bundle 'no-such-model'"),
        (["evaluate", "--data", "no-such-folder", "--split", "val", "--out", "o"], "not a folder"),
        (["simulate", "--out", "o", "-n", "0"], "-n"),
        (["models", "inspect", "no-such-model"], "no bundle"),
        (["bundle", "inspect", "joint"], "No such command"),
        (["no-such-command"], "No such command"),
    ],
)
def test_wrong_use_ends_with_2(command, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    answer = command(*arguments)
    assert answer.code == 2
    assert words in answer.err
    assert answer.out == ""


def test_empty_folder_is_wrong_use(command, tmp_path):
    (tmp_path / "in").mkdir()
    answer = command("grade", tmp_path / "in", "--out", tmp_path / "out")
    assert answer.code == 2
    assert "no image files found" in answer.err


# --- what is imported --------------------------------------------------------------------------------


def loaded_by(code):
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", f"{code}\nimport sys; print(*sorted(sys.modules), file=sys.stderr)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


def test_help_imports_nothing_heavy():
    code = "import sys\nsys.argv = ['kellgren', '--help']\nimport kellgren.cli\n"
    code += "try:\n    kellgren.cli.main()\nexcept SystemExit as end:\n    assert not end.code"
    modules = loaded_by(code)
    assert "kellgren.cli.grade" in modules
    assert not modules & {"torch", "cv2", "onnxruntime", "numpy", "pydicom", "PIL", "matplotlib", "sklearn"}


def test_import_is_light_and_grading_never_imports_torch():
    assert not loaded_by("import kellgren") & {"torch", "timm", "cv2", "onnxruntime", "numpy"}
    grading = loaded_by(
        "import kellgren, kellgren.grade.batch, kellgren.report.picture, kellgren.report.table\n"
        "import kellgren.data\n"
        "import kellgren.evaluate.evaluation, kellgren.grade.golden\nkellgren.load"
    )
    assert {"onnxruntime", "cv2"} <= grading
    assert not grading & {"torch", "timm", "torchvision", "onnx", "matplotlib", "sklearn"}
    assert not {name for name in grading if name.startswith("kellgren.train")}


# --- the other commands --------------------------------------------------------------------------------


def test_version_and_help(command):
    from kellgren import __version__

    assert command("--version").out == f"kellgren {__version__}\n"
    shown = command("--help").out
    for name in ("grade", "evaluate", "train", "simulate", "models", "doctor", "study", "data"):
        assert name in shown


def test_models(command):
    answer = command("models")
    assert answer.code == 0
    assert f"{bundle.load().card.title} (default)" in answer.out
    documents = json.loads(command("models", "--json").out)
    assert [d["name"] for d in documents] == list(bundle.packaged())
    for document in documents:
        validate("card", document)


def test_models_check(command):
    answer = command("models", "check")
    assert answer.code == 0
    assert answer.out.count(": ok,") == len(bundle.packaged())
    (result,) = json.loads(command("models", "check", bundle.DEFAULT, "--json").out)
    assert result["passed"] is True
    assert result["model"] == bundle.load().card.title


def test_models_check_of_a_bundle_that_differs(command, tmp_path):
    root = bundle.packaged()[bundle.DEFAULT]
    for file in ("model.onnx", "typical.npz"):
        if root.joinpath(file).is_file():
            (tmp_path / file).write_bytes(root.joinpath(file).read_bytes())
    (tmp_path / "golden").mkdir()
    for file in root.joinpath("golden").iterdir():
        (tmp_path / "golden" / file.name).write_bytes(file.read_bytes())
    card = json.loads(root.joinpath("card.json").read_text(encoding="utf-8"))
    card["calibration"]["temperature"]["FM"] *= 2
    (tmp_path / "card.json").write_text(json.dumps(card))
    answer = command("models", "check", tmp_path)
    assert answer.code == 1
    assert "DIFFERS" in answer.out


def test_models_inspect(command):
    card = bundle.load().card
    shown = command("models", "inspect", bundle.DEFAULT).out
    assert card.title in shown
    for task in card.tasks:
        assert task in shown
    assert json.loads(command("models", "inspect", bundle.DEFAULT, "--json").out) == card.to_json()


def test_doctor(command):
    answer = command("doctor", "--json")
    assert answer.code == 0
    report = json.loads(answer.out)
    assert report["processors"] >= 1
    assert report["bundles"][0]["passed"] is True
    assert report["extras"].keys() == {"codecs", "study", "train"}
    assert all(isinstance(able, bool) for able in report["transfer_syntaxes"].values())
    assert report["versions"].keys() >= {"kellgren", "numpy", "onnxruntime"}
    shown = command("doctor").out
    assert f"{bundle.load().card.title}: ok" in shown
    assert "This installation can grade." in shown


def test_simulate_twice_writes_the_same(command, tmp_path):
    for name in ("a", "b"):
        answer = command("simulate", "--out", tmp_path / name, "-n", 2, "--seed", 5, "--format", "mixed")
        assert answer.code == 0
        assert "2 simulated knees" in answer.err
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_evaluate(command, phantom_set, tmp_path):
    answer = command("evaluate", "--data", phantom_set, "--split", "val", "--out", tmp_path, "--json")
    assert answer.code == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    validate("metrics", metrics)
    assert json.loads(answer.out) == metrics
    assert (metrics["n"], metrics["n_patients"], metrics["split"], metrics["test_looks"]) == (4, 2, "val", 0)
    assert metrics["model"] == bundle.load().card.title
    rows = rows_of(tmp_path / "predictions.csv", "predictions")
    assert len(rows) == 4
    with (phantom_set / "labels.csv").open(newline="") as file:
        labels = {row["name"]: row for row in csv.DictReader(file)}
    for row in rows:
        assert (row["split"], row["patient"]) == ("val", labels[row["name"]]["patient"])
        assert [row["KL_true"], row["FL_true"]] == [int(labels[row["name"]][task]) for task in ("KL", "FL")]
        assert row["side"] == labels[row["name"]]["side"]
    right = sum(row["KL"] == row["KL_true"] for row in rows)
    assert metrics["KL"]["accuracy"]["value"] == pytest.approx(right / 4)
    assert np.array(metrics["KL"]["confusion"]).sum() == 4


def test_evaluate_draws_figures_and_says_where_it_draws_no_knees(command, phantom_set, tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure").Figure
    monkeypatch.setattr(figure, "savefig", lambda figure, path, dpi: path.write_bytes(b""))  # slow
    for split, heat in (("val", True), ("test", False)):
        data, out = tmp_path / split / "set", tmp_path / split / "out"
        (data / "images").mkdir(parents=True)
        names = sorted(p.name for p in (phantom_set / "images").iterdir())[:2]
        for name in names:
            (data / "images" / name).write_bytes((phantom_set / "images" / name).read_bytes())
        rows = [f"{Path(n).stem},{split},{n[:7]},{Path(n).stem[-1]},{k}" for k, n in enumerate(names)]
        (data / "labels.csv").write_text("name,split,patient,side,KL\n" + "\n".join(rows) + "\n")
        answer = command("evaluate", "--data", data, "--split", split, "--out", out, "--figures")
        assert answer.code == 0
        drawn = {file.stem for file in (out / "figures").iterdir()}
        maps = {"heat-by-grade", "heat-by-class", "heat-with-bars"} if heat else set()
        assert drawn == {"confusion", "reliability", "roc"} | maps
        assert ("no heat maps: knees of the split 'test'" in answer.err) != heat


def test_each_look_at_a_test_split_is_counted(command, phantom_set, tmp_path):
    data = tmp_path / "set"
    (data / "images").mkdir(parents=True)
    names = sorted(p.name for p in (phantom_set / "images").iterdir())[:2]
    for name in names:
        (data / "images" / name).write_bytes((phantom_set / "images" / name).read_bytes())
    rows = [f"{Path(n).stem},test,{n[:7]},{Path(n).stem[-1]},{k}" for k, n in enumerate(names)]
    (data / "labels.csv").write_text("name,split,patient,side,KL\n" + "\n".join(rows) + "\n")
    for look in (1, 2):
        answer = command("evaluate", "--data", data, "--split", "test", "--out", tmp_path / "out")
        assert answer.code == 0
        assert f"look number {look} at a test split" in answer.out
        assert json.loads((tmp_path / "out" / "metrics.json").read_text())["test_looks"] == look


def test_evaluate_goes_on_past_a_bad_file(command, phantom_set, tmp_path):
    data = tmp_path / "set"
    (data / "images").mkdir(parents=True)
    for path in phantom_set.glob("images/*.png"):
        (data / "images" / path.name).write_bytes(path.read_bytes())
    (data / "labels.csv").write_bytes((phantom_set / "labels.csv").read_bytes())
    bad = sorted(
        row.split(",")[0] for row in (data / "labels.csv").read_text().splitlines() if ",val," in row
    )[0]
    (data / "images" / f"{bad}.png").write_bytes(b"")
    answer = command("evaluate", "--data", data, "--split", "val", "--out", tmp_path / "out")
    assert answer.code == 1
    assert f"not graded: {bad}" in answer.err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["n"], metrics["n_failed"]) == (3, 1)
    rows = rows_of(tmp_path / "out" / "predictions.csv", "predictions")
    assert [row["name"] for row in rows if row["status"] == "failed"] == [bad]
