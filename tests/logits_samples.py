"""Logits whose true distribution is known, and hypothesis strategies of any logits."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kellgren.model.calibrators import softmax

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

logits = hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(2, 6)), elements=st.floats(-30, 30))


def simulated(seed, n=4000, classes=5, sharpened=1.0):
    """Logits whose softmax at temperature `sharpened` is the true distribution of the grades."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-0.5, classes - 0.5, n)
    z = -((np.arange(classes) - centre[:, None]) ** 2) * rng.uniform(0.3, 1.5, n)[:, None]
    p = softmax(z)
    truth = (rng.random(n)[:, None] > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
    return z * sharpened, truth
