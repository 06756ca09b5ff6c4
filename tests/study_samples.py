"""Made studies: a plan of two rows, predictions that say what they are told, a folder with both."""

import itertools
import json
from dataclasses import asdict

import numpy as np

from kellgren.report.table import columns, write_table
from kellgren.study import cells, plan
from kellgren.study.records import STUDY
from kellgren.writing import write_json


def small(**changes):
    """A plan of two rows, as plain values."""
    row = {"name": "one", "recipe": "joint"}
    return {
        "name": "test",
        "title": "A test",
        "source": "nobody",
        "rows": [row, {**row, "name": "two", "set": ["optimise.batch=8"]}],
        **changes,
    }


def one_hot(*grades, sure=0.6):
    """Probabilities (N, 5) with the given most probable grades."""
    p = np.full((len(grades), 5), (1 - sure) / 4)
    p[np.arange(len(grades)), grades] = sure
    return p


def write_predictions(
    path, probabilities, truth, *, failed=(), split="val", tasks=("KL", "OA", "FL"), knees=None
):
    names = ("name", "split", "patient", *(f"{task}_true" for task in tasks), *columns(tasks))
    rows = []
    for i, (p, grade) in enumerate(zip(probabilities, truth, strict=True)):
        row = {
            "name": knees[i] if knees else f"k{i:03}",
            "split": split,
            "patient": f"p{i // 2}",
            "KL_true": grade,
            "file": "x",
        }
        if i in failed:
            rows.append(row | {"status": "failed"})
            continue
        row |= {"status": "graded", "KL": int(np.argmax(p)), "OA_p": float(sum(p[2:]))}
        row |= {f"KL_p{k}": float(v) for k, v in enumerate(p)}
        row |= {"OA_true": None if grade is None else int(grade >= 2)}
        rows.append(row)
    write_table(path, names, rows)
    return path


def study_folder(tmp_path, *, answered=("one", "two"), seeds=(0,), folds=(), vote=None):
    """A study of two rows and a vote, its cells filled with made predictions."""
    rows_ = [
        {"name": "one", "recipe": "joint", "group": "g", "folds": list(folds)},
        {"name": "two", "recipe": "joint", "group": "g", "folds": list(folds)},
        {"name": "both", "vote": {"of": ["one", "two"], "rule": "soft"} | (vote or {})},
    ]
    printed = [{"row": "one", "figure": "KL.accuracy", "value": 0.7, "where": "Table 1", "differs": ["data"]}]
    chosen = plan.from_dict(
        small(
            rows=rows_,
            compare=[["one", "*"]],
            printed=printed,
            figures=["KL.accuracy", "KL.accuracy_ovr.mean"],
            differs=["metric"],
        ),
        size="small",
    )
    truth = [0, 1, 2, 3, 4, 0, 1, 2]
    given = {"one": one_hot(0, 1, 2, 3, 4, 0, 0, 0), "two": one_hot(0, 1, 2, 3, 0, 1, 0, 0)}
    brief = {}
    for name in ("one", "two"):
        brief[name] = []
        for seed, fold in itertools.product(seeds, folds or (0,)):
            key = f"{name}{seed}{fold}"
            about = {"key": key, "seed": seed, "fold": fold}
            brief[name].append({**about, "epochs": 5, "init": None, "recipe": {"loss": {"KL": {}}}})
            if name not in answered:
                continue
            folder = tmp_path / "cells" / key / "evaluations" / "val"
            folder.mkdir(parents=True)
            write_predictions(folder / "predictions.csv", given[name], truth)
            (folder / "metrics.json").write_text("{}")
            cost = {"parameters": 2_000_000, "macs": 10**9, "epochs": 5, "best_epoch": 4, "stopped": None}
            cost |= {"train_seconds": 90.0, "peak_bytes": 2**30, "machine": "a machine"}
            write_json(folder.parents[1] / cells.COST, cost)
    folder = tmp_path / "test-small"
    folder.mkdir()
    study = {"plan": asdict(chosen), "size": "small", "data": "d", "data_sha256": "0", "test_data": None}
    study |= {
        "split": "val",
        "written": "2026-01-01T12:00:00+00:00",
        "evaluation": "val",
        "held_out_evaluation": "held_out",
        "fold": 0,
        "train_kl": [5, 4, 3, 2, 1],
        "cells": brief,
    }
    (folder / STUDY).write_text(json.dumps(study))
    return folder
