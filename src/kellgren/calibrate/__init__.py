"""Fits what a model applies, from its answers on held-out knees. Without torch.

In the order in which data pass: `held_out` takes the answers and writes the card's calibration, with
`calibrators` (temperatures and Dirichlet maps, cross-fitted by patient) and `thresholds` (intervals);
`ensemble` calibrates bundles that vote as one; `publish` gives a bundle its golden inputs and validation.
"""
