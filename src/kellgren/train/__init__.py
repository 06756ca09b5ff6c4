"""Making models. Never imported by grading.

What all kinds share, in the order of a run: `documents` and `kinds` (a recipe file, and the kind it is of),
`run` (what a run is made of, its folds), `clone` (its own copy of the program), `folder` (what its folder
holds: record and log), `hardware` and `distributed` (the machine, and processes that share a training),
`session` (epoch by epoch, resumable), `optimiser`, `checkpoint` (weights in files), `graph` (a network as
ONNX), `card` (what every bundle's card says). A kind is a room, `graders`, `localiser`, `contour`, with a
recipe, a network, its stages of training and its export.
"""
