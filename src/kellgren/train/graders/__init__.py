"""Makes graders: a crop in, grades of all tasks out.

In the order in which data pass: `batches` (which knees an epoch shows, crops in memory, batch by batch),
`augment`, `networks` (one file per network, each like its paper's figure), `losses` (what a head is asked
for), `training` (the one stage, and metrics while it learns), `export` (the bundle). `recipe` says what and
how.
"""
