"""`kellgren study`: plans of ablations and comparisons, their cells trained and cached, their tables.

Read in this order: `plan` (what is compared), `cells` (one training with its evaluations, found again by
its content), `worker` (a cell in a process of its own), `laboratory` (all cells of a plan), `rows` (what was
found, by row), `table`, `markdown` and `plot` (how it is shown). Only `worker` trains, so only it imports
torch.
"""
