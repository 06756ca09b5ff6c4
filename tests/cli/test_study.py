"""`kellgren study` on the command line."""

import json

import pytest

from study_samples import one_hot, study_folder, write_predictions

pytest.importorskip("yaml")

VOTE = ("study", "predictions", "vote")


@pytest.mark.train
def test_list(command):
    code, out, _ = command("study", "list")
    assert code == 0
    assert "wang-ablation: Wang 2021, ablation (4 rows)" in out


@pytest.mark.train
def test_a_wrong_plan_ends_at_once(command, phantom_set, tmp_path):
    code, _, err = command("study", "run", "wang-ablaton", "--data", phantom_set, "--out", tmp_path)
    assert code == 2
    assert "did you mean 'wang-ablation'" in err
    code, _, err = command(
        "study", "run", "losses", "--data", phantom_set, "--out", tmp_path, "--seeds", "0;1"
    )
    assert code == 2
    assert "--seeds '0;1'" in err


@pytest.mark.train
def test_how_a_plan_is_carried_out(command, monkeypatch, tmp_path):
    from kellgren.study import runner

    seen = []

    def stop(plan, settings):
        seen.append((plan.name, settings.parallel, settings.minutes))
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", stop)
    asked = ("study", "run", "losses", "--data", tmp_path, "--out", tmp_path)
    command(*asked, "--parallel", "2", "--minutes", "90")
    command(*asked)
    assert seen == [("losses", 2, 90.0), ("losses", 1, 0.0)]
    assert command(*asked, "--minutes", "0")[0] == 2


@pytest.mark.train
def test_table_of_what_there_is(command, tmp_path):
    pytest.importorskip("matplotlib")
    folder = study_folder(tmp_path, answered=("one",))
    code, out, err = command("study", "table", tmp_path)
    assert code == 0
    assert "| not run |" in out
    for name in ("table.md", "table.csv", "table.json", "plot.png"):
        assert (folder / name).stat().st_size > 0
        assert name in err
    code, out, _ = command("study", "table", folder, "--json")
    assert json.loads(out)["rows"][0]["state"] == "done"


def test_no_study_there(command, tmp_path):
    code, _, err = command("study", "table", tmp_path)
    assert code == 2
    assert "no study there" in err


@pytest.fixture
def voters(tmp_path):
    truth = [0, 1, 2, 3, 4, 0]
    files = []
    for name, grades in (("a", (0, 1, 2, 0, 0, 4)), ("b", (0, 1, 0, 3, 4, 0)), ("c", (1, 1, 2, 3, 4, 1))):
        (tmp_path / name).mkdir()
        files.append(
            write_predictions(tmp_path / name / "predictions.csv", one_hot(*grades), truth, split="train")
        )
    return files


def test_vote(command, voters, tmp_path):
    code, out, _ = command(
        "study", "predictions", "vote", *voters, "--rule", "hard", "--out", tmp_path / "vote", "--json"
    )
    assert code == 0
    # majorities 0 1 2 3 4, and of the tie between 4, 0 and 1 the smallest
    assert json.loads(out)["KL"]["accuracy"]["value"] == 1.0
    from kellgren.study import predictions

    assert predictions.read(tmp_path / "vote").decided["KL"].tolist() == [0, 1, 2, 3, 4, 0]
    code, out, _ = command("study", "predictions", "vote", *voters)
    assert code == 0
    assert out.startswith("KL: n 6, accuracy 1.000 [1.000, 1.000]")


def test_vote_with_a_wrong_rule(command, voters):
    code, _, err = command("study", "predictions", "vote", *voters, "--rule", "median")
    assert code == 2
    assert "'soft', 'hard', 'mixed'" in err


def test_search_ranks_votes(command, voters):
    code, out, _ = command("study", "predictions", "search", *voters, "--json")
    assert code == 0
    best = json.loads(out)[0]
    assert best["members"] == [0, 1, 2]
    assert best["accuracy"] == 1.0


def test_search_refuses_the_validation_split(command, tmp_path):
    files = []
    for name in "ab":
        (tmp_path / name).mkdir()
        files.append(
            write_predictions(tmp_path / name / "predictions.csv", one_hot(0, 1), [0, 1], split="val")
        )
    code, _, err = command("study", "predictions", "search", *files)
    assert code == 2
    assert "it reports" in err


def test_a_vote_on_a_test_split_is_counted(command, tmp_path):
    file = write_predictions(tmp_path / "predictions.csv", one_hot(0, 1, 2), [0, 1, 2], split="test")
    for looks in (1, 2):
        _, out, _ = command("study", "predictions", "vote", file, file, "--out", tmp_path / "out", "--json")
        assert json.loads(out)["test_looks"] == looks


def test_reweighted(command, tmp_path):
    from kellgren.report.table import columns, write_table

    readings = [(0, 0, 0), (0, 1, 0), *[(0, None, 3)] * 4, (2, 2, 2), (2, 2, 2)]
    rows = []
    for i, (kl, fl, decided) in enumerate(readings):
        row = {"name": f"k{i}", "split": "val", "patient": f"p{i}", "KL_true": kl, "FL_true": fl, "file": "x"}
        row |= {"status": "graded", "KL": 0, "FL": decided}
        row |= {f"KL_p{k}": float(k == 0) for k in range(5)}
        rows.append(row | {f"FL_p{k}": float(k == decided) for k in range(4)})
    path = tmp_path / "predictions.csv"
    write_table(path, ("name", "split", "patient", "KL_true", "FL_true", *columns(("KL", "FL"))), rows)
    code, out, _ = command("study", "predictions", "reweight", path, "--json")
    assert code == 0
    [entry] = json.loads(out)
    assert (entry["task"], entry["n"], entry["n_read"]) == ("FL", 8, 4)
    assert entry["read"]["accuracy"]["value"] == pytest.approx(3 / 4)
    assert entry["reweighted"]["accuracy"]["value"] == pytest.approx(5 / 8)
    code, out, _ = command("study", "predictions", "reweight", path)
    assert "| FL | 4 of 8 | as read |" in out
