"""Makes the joint-line model: 30 points on the femur and the tibia, learned from a table of points.

`kellgren.measure` uses what comes out. The network is a small one with a differentiable spatial to numerical
layer (Nibali 2018); material, choices and figures are in `docs/explanation/joint-space-width.md`.
"""
