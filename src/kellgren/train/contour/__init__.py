"""Makes the joint-line model: 30 points on the femur and the tibia, learned from a table of points.

In the order in which data pass: `crops` (crops with their points, reframed), `network` (DSNT, Nibali 2018,
with its loss), `training` (the one stage), `export` (the bundle). `recipe` says what and how.
`kellgren.measure` uses what comes out; choices and results are in `docs/explanation/joint-space-width.md`.
"""
