"""Ensembles are made, calibrated on what no member learned from, and used like any other bundle."""

import json
import shutil
import sys
import zipfile

import numpy as np
import pytest

import stub_bundle
from contract import validate
from kellgren import cli
from kellgren.calibrate.calibrators import fit_temperature
from kellgren.calibrate.ensemble import left_out, make_ensemble
from kellgren.calibrate.held_out import observe
from kellgren.data import load
from kellgren.errors import BadBundle, BadDataset, BadRecipe
from kellgren.grade import golden
from kellgren.model import bundle, calibrators
from kellgren.model.predict import Model
from kellgren.report.card import describe
from kellgren.vocabulary import MISSING


@pytest.fixture
def dataset(training_set):
    return load(training_set)


@pytest.fixture
def voice(tmp_path, dataset, stub_session):
    """A member's folder: the stub, trained on the data set without fold 0 unless it is said otherwise."""

    def make(name, *, training=(), **changes):
        told = {"data": "d", "data_sha256": dataset.sha256(), "split": "train", "folds": [1]}
        told |= {"held_out_fold": 0, "recipe": name, "minutes": 2.5, "seeds": [0], **dict(training)}
        parity = {"largest_probability_difference": 1e-6, "knees": 4, "parameters": 100}
        document = stub_bundle.card(**{"name": name, "training": told, "parity": parity, **changes})
        return stub_bundle.write_bundle(tmp_path / "voices" / name, document)

    return make


def make(folders, dataset, out, **options):
    seen = []

    def track(items, total, description):
        seen.append((description, total))
        return iter(items)

    opened = [bundle.load(folder) for folder in folders]
    written = make_ensemble(opened, dataset, out, **{"name": "choir", "track": track, **options})
    return bundle.load(written), seen


def test_an_ensemble_is_a_bundle(voice, dataset, tmp_path):
    first = voice("first", tta=["flip"])
    second = voice("second", tasks={"KL": 5}, side_convention="none", oa_from="sum", licence="MIT")
    (first / "notes.txt").write_text("not the bundle's")
    (first / "golden").mkdir()
    (first / "golden" / "outputs.json").write_text("{}")
    opened, seen = make([first, second], dataset, tmp_path / "out", weights=[1.0, 3.0])
    card = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))
    validate("card", card)
    held_out = dataset.select(split="train", folds={0})
    assert seen == [("held-out fold", len(held_out)), ("validating", len(dataset.select(split="val")))]
    assert card["calibration"]["fitted"]["n"] == len(held_out)
    assert "fold 0" in card["calibration"]["fitted"]["method"]
    assert set(opened.card.tasks) == set(stub_bundle.TASKS)
    assert (card["side_convention"], card["oa_from"], card["vote"]) == ("as_right", "head", "soft")
    assert card["members"] == [
        {"bundle": "members/first", "weight": 1.0},
        {"bundle": "members/second", "weight": 3.0},
    ]
    assert card["licence"] == "Apache-2.0 AND MIT"
    assert card["citation"] == "nobody"
    assert card["parity"]["parameters"] == 200
    training = card["training"]
    assert (training["data_sha256"], training["held_out_fold"]) == (dataset.sha256(), 0)
    assert training["minutes"] == 5.0
    assert [m["model"] for m in training["members"]] == ["first@1.2.3", "second@1.2.3"]
    assert card["validation"]["model"] == "choir@0.1.0"
    assert golden.check(opened).passed
    assert not (tmp_path / "out" / "members" / "first" / "notes.txt").exists()
    assert (tmp_path / "out" / "members" / "first" / "golden" / "outputs.json").is_file()
    text = describe(opened)
    assert "member second@1.2.3, weight 3, soft vote: KL" in text
    assert "the members' own" in text


@pytest.mark.parametrize("vote", ["soft", "hard", "mixed"])
def test_the_temperature_in_use_is_the_one_that_was_fitted(voice, dataset, tmp_path, vote):
    warm = {"temperature": {"KL": 3.0}, "conformal": {}}
    opened, _ = make(
        [voice("first"), voice("second", calibration=warm)],
        dataset,
        tmp_path / "out",
        vote=vote,
        calibration="temperature",
    )
    held_out = dataset.select(split="train", folds={0})
    fitted = opened.card.calibration.calibrators["KL"].value
    truth = held_out.grades("KL")
    used = observe(Model(opened), held_out, lambda items, total, description: iter(items)).logits["KL"]
    raw = used * fitted
    assert fitted == pytest.approx(fit_temperature(raw, truth).value, rel=1e-3)
    assert (truth != MISSING).any()
    member = Model(bundle.load(tmp_path / "out" / "members" / "second"))
    assert member.card.calibration.calibrators["KL"] == calibrators.Temperature(3.0)


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"data_sha256": "0" * 64}, "other data"),
        ({"held_out_fold": None, "folds": [0, 1]}, "trained on all folds"),
        ({"folds": [0, 1]}, "trained on all folds"),
    ],
)
def test_knees_that_a_member_learned_from_calibrate_nothing(voice, dataset, tmp_path, training, words):
    folders = [voice("first"), voice("second", training=training)]
    with pytest.raises(BadBundle, match=rf"{words}.*dishonest"):
        make(folders, dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_members_of_a_cross_validation_answer_for_the_folds_that_they_left_out(voice, dataset, tmp_path):
    other = {"held_out_fold": 1, "folds": [0]}
    warm = {"temperature": {"KL": 3.0}, "conformal": {}}
    folders = [voice("first"), voice("second", training=other, calibration=warm), voice("third")]
    opened, seen = make(folders, dataset, tmp_path / "out", calibration="temperature")
    card = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))
    validate("card", card)
    folds = [dataset.select(split="train", folds={fold}) for fold in (0, 1)]
    assert [total for _, total in seen] == [*map(len, folds), len(dataset.select(split="val"))]
    assert card["training"]["folds"] == [0, 1]
    assert card["training"]["held_out_fold"] is None
    assert [told["held_out_fold"] for told in card["training"]["members"]] == [0, 1, 0]
    fitted = card["calibration"]["fitted"]
    assert fitted["n"] == sum(map(len, folds))
    assert fitted["method"].startswith("folds 0, 1 of the train split")

    def track(items, total, description):
        return iter(items)

    # the first and the third are the same network: together they say of fold 0 what the first says alone
    alone = [
        observe(Model(bundle.load(f)), knees, track) for f, knees in zip(folders[:2], folds, strict=True)
    ]
    logits = np.concatenate([answers.logits["KL"] for answers in alone])
    truth = np.concatenate([knees.grades("KL") for knees in folds])
    temperature = opened.card.calibration.calibrators["KL"].value
    assert temperature == pytest.approx(fit_temperature(logits, truth).value, rel=1e-3)
    swapped = np.concatenate(
        [observe(Model(bundle.load(folders[i])), folds[1 - i], track).logits["KL"] for i in (1, 0)]
    )
    assert np.abs(swapped - logits).max() > 0.01


def test_members_of_a_cross_validation_must_be_able_to_answer_alone(voice, dataset, tmp_path):
    other = {"held_out_fold": 1, "folds": [0]}
    first, second = voice("first"), voice("second", training=other)
    with pytest.raises(BadBundle, match="left out folds 0, 1, and a hard vote"):
        make([first, second], dataset, tmp_path / "out", vote="hard")
    narrow = voice("narrow", training=other, tasks={"KL": 5}, side_convention="none", oa_from="sum")
    with pytest.raises(BadBundle, match="no member that left out fold 1 grades FL, FM"):
        make([first, narrow], dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_member_must_say_what_it_was_trained_on(voice):
    members = [bundle.load(voice("first", training={"data_sha256": None}))]
    with pytest.raises(BadBundle, match=r"first@1\.2\.3 does not say"):
        left_out(members)


def test_another_data_set_is_refused(voice, phantom_set, tmp_path):
    with pytest.raises(BadDataset, match="not the one that the members were trained on"):
        make([voice("first"), voice("second")], load(phantom_set), tmp_path / "out")


def test_who_cannot_vote(voice, dataset, tmp_path):
    out = tmp_path / "out"
    first, second = voice("first"), voice("second")
    with pytest.raises(BadBundle, match="1 member"):
        make([first], dataset, out)
    with pytest.raises(BadBundle, match="localiser, not a grader"):
        make([first, "locate"], dataset, out)
    with pytest.raises(BadBundle, match="3 weights for 2"):
        make([first, second], dataset, out, weights=[1, 2, 3])
    with pytest.raises(BadBundle, match="weight -1"):
        make([first, second], dataset, out, weights=[1, -1])
    with pytest.raises(BadBundle, match=r"'\.\./choir' is no name"):
        make([first, second], dataset, out, name="../choir")
    evil = voice("evil")
    (evil / "card.json").write_text((evil / "card.json").read_text().replace('"evil"', '"../evil"', 1))
    with pytest.raises(BadBundle, match=r"the card's name is '\.\./evil'"):
        make([first, evil], dataset, out)
    assert not out.exists()


def test_a_member_is_not_replaced_by_its_ensemble(voice, dataset, tmp_path):
    first, second = voice("first"), voice("second")
    shutil.copy(first / "card.json", first.parent / "card.json")
    with pytest.raises(BadBundle, match="lies in the folder that is to be replaced"):
        make([first, second], dataset, first.parent)
    assert (first / "model.onnx").is_file()


def test_zipped_members_and_a_zipped_ensemble_of_ensembles(voice, dataset, tmp_path):
    packed = tmp_path / "first.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in voice("first").iterdir():
            archive.write(file, file.name)
        archive.writestr("golden/outputs.json", "{}")
    evil = tmp_path / "evil.zip"
    shutil.copy(packed, evil)
    with zipfile.ZipFile(evil, "a") as archive:
        archive.writestr("golden/../../../evil.txt", "evil")
    with pytest.raises(BadBundle, match="leads elsewhere"):
        make([packed, evil], dataset, tmp_path / "out")
    inner, _ = make([packed, packed], dataset, tmp_path / "deep" / "inner", name="inner")
    assert [m.bundle for m in inner.card.members] == ["members/1-first", "members/2-first"]
    assert not list(tmp_path.rglob("evil.txt"))
    outer, _ = make([tmp_path / "deep" / "inner", packed], dataset, tmp_path / "outer")
    validate("card", outer.card.to_json())
    assert outer.card.parity.parameters == 300
    whole = tmp_path / "outer.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for file in sorted((tmp_path / "outer").rglob("*")):
            if file.is_file():
                archive.write(file, "outer/" + file.relative_to(tmp_path / "outer").as_posix())
    assert bundle.load(whole).sha256() == outer.sha256()
    assert golden.check(bundle.load(whole)).passed


def test_a_plan_asks_every_network_of_an_ensemble_of_ensembles(voice, dataset, tmp_path):
    pytest.importorskip("torch")
    from kellgren.study import released

    one, two = (voice(name, training={"initial_weights": name}) for name in ("one", "two"))
    make([one, one], dataset, tmp_path / "inner", name="inner")
    make([tmp_path / "inner", two], dataset, tmp_path / "outer")
    found = released.find("row", str(tmp_path / "outer"), dataset, tmp_path, fold=0)
    assert [training.initial_weights for training in found.learned] == ["one", "one", "two"]
    assert found.training().init == "one, two"
    with pytest.raises(BadRecipe, match="did not hold out fold 1"):
        released.find("row", str(tmp_path / "outer"), dataset, tmp_path, fold=1)


def test_a_damaged_member_is_refused(voice, dataset, tmp_path):
    first, second = voice("first"), voice("second")
    (second / "model.onnx").write_bytes(b"another graph")
    with pytest.raises(BadBundle, match="damaged or was exchanged"):
        make([first, second], dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_on_the_command_line(voice, dataset, tmp_path, monkeypatch, capfd, phantom_png):
    first, second = voice("first"), voice("second")

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["kellgren", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capfd.readouterr()

    out = tmp_path / "out"
    making = ("models", "ensemble", first, second, "--data", dataset.root, "--out", out, "--name", "choir")
    code, said = command(*making, "--weight", "2")
    assert code == 2
    assert "1 given for 2 members" in said.err
    code, said = command(*making, "--vote", "mixed", "--weight", "2", "--weight", "1", "--version", "3.0")
    assert code == 0, said.err
    assert bundle.load(out).card.title == "choir@3.0"
    assert [member.weight for member in bundle.load(out).card.members] == [2.0, 1.0]
    assert command("models", "check", out)[0] == 0
    grading = ("grade", phantom_png, "--out", tmp_path / "graded", "--model", out, "--input", "crop")
    code, said = command(*grading, "--side", "R", "--explain")
    assert code == 0, said.err
    assert len(list((tmp_path / "graded" / "explain").glob("*.png"))) == 1
    run = json.loads((tmp_path / "graded" / "run.json").read_text(encoding="utf-8"))
    files = {f"members/{name}/{file}" for name in ("first", "second") for file in ("card.json", "model.onnx")}
    assert set(run["model"]["sha256"]) == {"card.json", *files}


def test_the_picture_says_that_some_members_have_no_maps(grader, phantom_png):
    from dataclasses import replace

    from kellgren.report.picture import draw

    (knee,) = grader.grade(phantom_png, input="crop", side="R", explain=True)
    assert knee.explanation.share["KL"] == 1.0
    whole, part = (
        np.asarray(draw(replace(knee, explanation=replace(knee.explanation, share={"KL": share}))))
        for share in (1.0, 0.5)
    )
    rows, columns = np.nonzero((whole != part).any(axis=2))
    assert rows.size
    assert columns.min() > whole.shape[1] // 2  # over the evidence
    assert np.ptp(rows) < 30


def test_making_one_imports_no_torch():
    import subprocess

    code = "import sys, kellgren.calibrate.ensemble; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
    assert np.isfinite(calibrators.log_probabilities(np.array([0.0, 1.0]))).all()
