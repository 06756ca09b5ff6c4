"""Makes the localiser: films composed from crops, samples cut from films, two networks, their training.

The cascade follows Wang et al. (Sci Rep 2021, "Knee joints localization", eq. 1). Where the paper is silent
(channels, window sizes, samples) the choices are ours and are given in `docs/explanation/localiser.md`.
"""

from kellgren.train.localiser import bundle, recipe, train

__all__ = ["bundle", "recipe", "train"]
