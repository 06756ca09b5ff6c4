"""`kellgren study`: plans of ablations and comparisons, their cells trained and cached, their tables.

In the order in which data pass: `figures` (names of values that a plan asks for), `plan` (what is compared),
`records` (what lies in files), `cells` (one training with its evaluations, found again by its content),
`runner` (all cells of a plan), `cell_process` (a cell in a process of its own), `released` (bundles judged
as they are), `predictions` and `voting`, `rows` (results by row), `gradient_share`, `table`, `markdown` and
`plots`. Only `cell_process` trains, so only it imports torch.
"""
