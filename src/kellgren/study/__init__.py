"""`kellgren study`: plans of ablations and comparisons, their cells trained and cached, their tables.

Read in this order: `plan` (what is compared), `cells` (one training with its evaluations, found again by
its content), `cell_process` (a cell in a process of its own), `laboratory` (all cells of a plan), `rows`
(the results, by row), `table`, `markdown` and `plots` (how they are shown). Only `cell_process` trains, so
only it imports torch.
"""
