"""Distance from ordinary embeddings."""

import numpy as np
import pytest

from kellgren.model.ood import Typical

RNG = np.random.default_rng(0)
SCALES = np.array([5.0, 3.0, 1.0, *(0.5,) * 17])
ORDINARY = RNG.normal(size=(800, 20)) * SCALES + 7.0


def test_ordinary_embeddings_are_about_one_away():
    model = Typical.fit(ORDINARY[:400].astype(np.float32), components=3)
    distances = model.distance(ORDINARY[400:].astype(np.float32))
    assert distances.mean() == pytest.approx(1.0, abs=0.1)


def test_distance_counts_deviations_not_units():
    model = Typical.fit(ORDINARY.astype(np.float32), components=3)
    centre = ORDINARY.mean(axis=0)
    wide, narrow = centre.copy(), centre.copy()
    wide[0] += 10 * SCALES[0]
    narrow[10] += 10 * SCALES[10]
    for far in (wide, narrow):
        assert model.distance(far[None])[0] == pytest.approx(100 / 20, rel=0.15)
    assert model.distance(centre[None])[0] == pytest.approx(0, abs=1e-6)


def test_stored_model_gives_nearly_the_same_distances():
    model = Typical.fit(ORDINARY.astype(np.float32), components=3)
    again = Typical.from_arrays(model.to_arrays())
    np.testing.assert_allclose(again.distance(ORDINARY[:50]), model.distance(ORDINARY[:50]), rtol=0.02)
    assert all(array.dtype != object for array in model.to_arrays().values())
