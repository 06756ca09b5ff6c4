"""Makes graders: a crop in, grades of all tasks out.

In the order in which data pass: `sampling` (which knees an epoch shows), `batches` (crops in memory, batch by
batch), `augment`, `tensor_steps` (what follows augmentation), `networks` (one file per network, each like its
paper's figure), `losses` (what a head is asked for), `training` (the one stage), `held_out` (predicting while
training), `export` (the bundle). `recipe` says what and how.
"""
