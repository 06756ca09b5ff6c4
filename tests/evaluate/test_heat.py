"""Heat maps of evaluations and studies: which knees, which maps, and a plain word where there are none."""

import json

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import stub_bundle
from kellgren import data
from kellgren.errors import BadDataset, BadRecipe
from kellgren.evaluate import discrimination, evaluation, heat, plots
from kellgren.grade.grader import Grader
from kellgren.model import bundle
from kellgren.model.predict import Model
from stub_bundle import CropsOnly, card


def area_under(y, x):
    """By trapezia; numpy's own function has changed its name."""
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def found(knees):
    """Answers of knees given as (name, patient, read, most probable, how probable)."""
    p = np.array([[(1 - sure) / 4] * 5 for *_, sure in knees])
    for row, (*_, decided, sure) in zip(p, knees, strict=True):
        row[decided] = sure
    names, patients, truth, decided, _ = zip(*knees, strict=True)
    return heat.Answers(names, patients, p, np.array(decided), np.array(truth))


def test_the_surest_right_knees_are_of_different_patients():
    some = found(
        [
            ("d", "p1", 2, 2, 0.6),
            ("c", "p1", 2, 2, 0.9),
            ("b", "p2", 2, 2, 0.7),
            ("a", "p3", 2, 2, 0.7),
            ("e", "p4", 2, 3, 0.99),
            ("f", "p5", 3, 2, 0.99),
        ]
    )
    assert [some.names[i] for i in heat.surest(some, 2, 3)] == ["c", "a", "b"]
    assert heat.surest(some, 3) == heat.surest(some, 0) == []


def test_the_torn_knee_is_wrong_and_its_probabilities_are_even():
    some = found(
        [("a", "p", 1, 0, 0.8), ("c", "p", 1, 2, 0.3), ("b", "p", 1, 0, 0.3), ("d", "p", 1, 1, 0.21)]
    )
    assert some.names[heat.torn(some, 1)] == "b"
    assert heat.torn(some, 2) is None


@pytest.fixture
def stub(tmp_path, stub_session):
    folder = stub_bundle.write_bundle(tmp_path / "bundle")
    return Grader(bundle.load(folder), localiser=CropsOnly(), threads=1)


def test_what_stands_against_maps(stub, stub_session, monkeypatch, tmp_path):
    assert heat.obstacle(stub.model, "val") is None
    assert "'test' are not shown" in heat.obstacle(stub.model, "test")
    monkeypatch.delitem(stub_session.outputs, "maps_KL")
    assert "stub@1.2.3 has no maps" in heat.obstacle(Model(bundle.load(tmp_path / "bundle")), "val")


@pytest.fixture
def drawn(monkeypatch):
    """What is laid on crops: knee, grade, logits of full colour, title."""
    calls = []
    overlay = heat._overlay

    def watched(axes, seen, grade, scale, title):
        calls.append((seen, grade, scale, title))
        overlay(axes, seen, grade, scale, title)

    monkeypatch.setattr(heat, "_overlay", watched)
    return calls


def test_figures_of_an_evaluation(stub, phantom_set, tmp_path, drawn):
    """The stub says KL 2 of every knee: [l, r, 3, 0, 0]."""
    dataset = data.load(phantom_set)
    judged = evaluation.evaluate(
        stub, dataset, "train", workers=1, test_looks=0, progress=lambda knees, total: iter(knees)
    )
    answers = heat.answers(judged)
    assert len(answers.names) == 16
    files = heat.draw(stub, dataset, answers, tmp_path / "figures")
    assert [file.name for file in files] == ["heat-by-grade.png", "heat-by-class.png", "heat-with-bars.png"]
    assert all(file.stat().st_size > 10_000 for file in files)
    right = heat.surest(answers, 2)
    wrong = [i for grade in range(5) if (i := heat.torn(answers, grade)) is not None]
    expected = [(answers.names[i], 2) for i in right]
    for i in wrong:
        order = np.argsort(-answers.probabilities[i], kind="stable")
        expected += [(answers.names[i], grade) for grade in order]
    expected += [(answers.names[i], 2) for i in right[:1]]
    assert [(seen.knee.name, grade) for seen, grade, *_ in drawn] == expected
    tops = [title for *_, title in drawn if title.startswith("top-1")]
    assert len(tops) == len(wrong)
    assert all(title.startswith("top-1: KL 2, ") for title in tops)
    by_class = drawn[len(right) :][:5]
    assert len({scale for _, _, scale, _ in by_class}) == 1, "classes of one knee are comparable"
    for seen, *_ in drawn:
        # the stub's maps are the same for every grade: nothing supports one more than another
        np.testing.assert_allclose(seen.heat, 0, atol=1e-5)
        assert seen.crop.shape == seen.heat.shape[1:]


def test_a_knee_that_is_not_there(stub, phantom_set, tmp_path):
    with pytest.raises(BadDataset, match="no knee 'a'"):
        heat.draw(stub, data.load(phantom_set), found([("a", "p", 2, 2, 0.9)]), tmp_path)


def test_evidence_is_against_the_mean_of_the_other_grades(stub, phantom_set, monkeypatch):
    """Maps of the decided grade three higher on the left half: 3 there, and 3 / 4 against the others."""
    answers = stub_bundle.StubSession.answers

    def raised(self, left, right):
        named = answers(self, left, right)
        named["maps_KL"] = named["maps_KL"].copy()
        named["maps_KL"][2, :, 0] += 3
        return named

    monkeypatch.setattr(stub_bundle.StubSession, "answers", raised)
    knee = next(knee for knee in data.load(phantom_set) if knee.side == "R")
    seen = heat._see(stub, knee)
    np.testing.assert_allclose(seen.heat[2, :, 0], 3, atol=0.5)
    np.testing.assert_allclose(seen.heat[0, :, 0], -0.75, atol=0.2)
    np.testing.assert_allclose(seen.heat[:, :, -1], 0, atol=0.5)
    left = next(knee for knee in data.load(phantom_set) if knee.side == "L")
    assert abs(heat._see(stub, left).heat[2, :, -1] - 3).max() < 0.5, "turned back to the crop's own frame"


@pytest.mark.parametrize("side", ["R", "L"])
def test_a_mirrored_knee_is_seen_where_it_was_before_the_mirror(tmp_path, stub_session, phantom_set, side):
    """Only the lateral half is looked at: left in a right knee, right in a left one."""
    half = [{"step": "patch", "part": "left"}, {"step": "resize", "height": 64, "width": 64}]
    entry = {**stub_bundle.CARD["inputs"][0], "view": "left_patch", "steps": half}
    folder = stub_bundle.write_bundle(tmp_path / "half", card(inputs=[entry]))
    grader = Grader(bundle.load(folder), localiser=CropsOnly(), threads=1)
    seen = heat._see(grader, next(knee for knee in data.load(phantom_set) if knee.side == side))
    columns = np.isfinite(seen.heat[0]).any(axis=0).nonzero()[0]
    middle = (seen.crop.shape[1] - 1) / 2
    assert (columns.mean() < middle) == (side == "R")
    assert len(columns) == pytest.approx(seen.crop.shape[1] / 2, abs=1)


# A study's


@pytest.fixture
def study(stub, phantom_set, tmp_path):
    """A study of a row with maps, one that is not trained, and a vote."""
    from kellgren.study import plan, records

    dataset = data.load(phantom_set)
    judged = evaluation.evaluate(
        stub, dataset, "val", workers=1, test_looks=0, progress=lambda knees, total: iter(knees)
    )
    cell = tmp_path / "cells" / "one"
    evaluation.write(judged, stub, cell / "evaluations" / "val")
    (cell / "run").mkdir()
    (tmp_path / "bundle").rename(cell / "run" / "bundle")
    folder = tmp_path / "test-small"
    folder.mkdir()
    rows = (
        plan.Row("at 96", recipe="joint"),
        plan.Row("open", recipe="joint"),
        plan.Row("both", vote=plan.Vote(of=("at 96", "open"))),
    )
    written = records.Study(
        plan=plan.Plan("test", "A test", "nobody", rows),
        size="small",
        data="phantoms",
        data_sha256=dataset.sha256(),
        test_data=None,
        split="val",
        evaluation="val",
        held_out_evaluation="held_out",
        fold=0,
        train_kl=(1, 1, 1, 1, 1),
        written="2026-01-01T12:00:00+00:00",
        cells={
            name: (records.Training(key, 0, 0, 1, None, None),)
            for name, key in (("at 96", "one"), ("open", "two"))
        },
    )
    records.write(folder / records.STUDY, written)
    return folder


def draw(study, dataset, **options):
    pytest.importorskip("yaml")
    from kellgren.study import plots

    return plots.draw_heat(study, dataset, **options)


@pytest.mark.train
def test_rows_of_a_study(study, phantom_set, monkeypatch):
    monkeypatch.setattr(heat.Figure, "savefig", lambda figure, path, dpi: path.write_bytes(b""))  # slow
    files, without = draw(study, data.load(phantom_set))
    assert [file.name for file in files] == [f"at-96-{name}.png" for name in heat.FILES]
    assert {file.parent for file in files} == {study / "heat"}
    assert without["open"] == "not trained and graded by a bundle yet"
    assert "a vote" in without["both"]
    assert draw(study, data.load(phantom_set), only=["both"])[0] == []


@pytest.mark.train
def test_the_command_names_rows_without_maps(study, phantom_set, capsys):
    from kellgren.cli.study import heat as command

    command(study, phantom_set, only=["open", "both"])
    said = capsys.readouterr()
    assert said.out == ""
    assert "open: no heat maps: not trained" in said.err
    assert "both: no heat maps: a vote" in said.err


@pytest.mark.train
def test_what_a_study_refuses(study, phantom_set, training_set):
    dataset = data.load(phantom_set)
    with pytest.raises(BadRecipe, match="did you mean 'open'"):
        draw(study, dataset, only=["opn"])
    with pytest.raises(BadDataset, match="not the data set 'phantoms'"):
        draw(study, data.load(training_set))
    document = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(document | {"split": "test"}))
    with pytest.raises(BadDataset, match="'test' are not shown"):
        draw(study, dataset)
    with pytest.raises(BadDataset, match="no study there"):
        draw(study.parent, dataset)


# ROC curves


def test_the_area_under_a_curve_is_the_auc():
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 6, 60).astype(float)  # many ties
    positive = scores + rng.normal(0, 2, 60) > 3
    alarms, hits = discrimination.roc_curve(scores, positive)
    assert area_under(hits, alarms) == pytest.approx(discrimination.auc(scores, positive))
    assert (alarms[0], hits[0], alarms[-1], hits[-1]) == (0, 0, 1, 1)


def test_the_mean_curve_has_the_mean_area():
    from matplotlib.figure import Figure

    rng = np.random.default_rng(6)
    truth = rng.integers(0, 4, 300)  # nobody has KL 4
    p = rng.dirichlet(np.ones(5), 300) + 0.4 * np.eye(5)[truth]
    axes = Figure().add_subplot()
    plots.draw_roc(axes, p / p.sum(axis=1, keepdims=True), truth)
    labels = {line.get_label(): line for line in axes.lines}
    [mean] = [label for label in labels if label.startswith("mean")]
    area = np.nanmean(discrimination.auc_per_grade(p / p.sum(axis=1, keepdims=True), truth))
    assert mean == f"mean: {area:.3f}"
    assert area_under(labels[mean].get_ydata(), labels[mean].get_xdata()) == pytest.approx(area, abs=0.01)
    assert sum(label.startswith("KL") for label in labels) == 4
