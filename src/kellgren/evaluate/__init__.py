"""Judges models: a split of a data set in, metrics with intervals out.

In the order in which data pass: `evaluation` grades a split as a user would; `metrics` and `discrimination`
turn grades and probabilities into figures; `statistics` gives them intervals over patients and compares
models; `task_metrics` puts them together as `metrics.json`; `reweighted` corrects features that were read for
some knees only; `detection` judges boxes; `plots` and `heat` draw (extra `study`).
"""
