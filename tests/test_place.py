"""Where inputs lie on a crop, by marks whose place is known."""

import numpy as np
import pytest

import stub_bundle
from kellgren import bundle, place, steps
from kellgren.errors import BadBundle
from kellgren.place import Place
from stub_bundle import card

BAND = {"step": "region", "top": 0.25, "left": 0.0, "height": 0.5, "width": 1.0}
HALVES = [
    [{"step": "resize", "height": 40, "width": 40}, BAND, {"step": "patch", "part": "left", "width": 0.4}],
    [
        {"step": "resize", "height": 40, "width": 40},
        BAND,
        {"step": "patch", "part": "right", "width": 0.4},
        {"step": "mirror"},
    ],
]


def card_of(*inputs, **changes):
    entries = []
    for i, specs in enumerate(inputs):
        shape = steps.apply(np.zeros((80, 80), np.float32), specs).shape
        entries.append({"name": f"i{i}", "view": "v", "size": list(shape), "channels": 1, "steps": specs})
    return bundle.parse_card(card(inputs=entries, **changes), where="here")


def test_cuts_are_followed_back_to_the_crop():
    found = place.trace(np.zeros((80, 120), np.float32), HALVES[0])
    assert found == Place(0, 20, 48, 60, False)
    # what lies right in the crop lies left behind the mirror
    assert place.trace(np.zeros((80, 120), np.float32), HALVES[1]) == Place(72, 20, 120, 60, True)
    cut_after_mirror = [{"step": "mirror"}, {"step": "patch", "part": "left", "width": 0.25}]
    assert place.trace(np.zeros((80, 120), np.float32), cut_after_mirror) == Place(90, 0, 120, 80, True)


@pytest.mark.parametrize(
    "specs", [*HALVES, [{"step": "mirror"}, BAND, {"step": "resize", "height": 8, "width": 30}]]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_cut_shows_what_lies_at_its_place(specs, seed):
    """An image of squares through the steps is its part cut out by hand."""
    image = np.random.default_rng(seed).random((4, 10)).astype(np.float32).repeat(20, 0).repeat(20, 1)
    p = place.trace(image, specs)
    cut = image[round(p.top) : round(p.bottom), round(p.left) : round(p.right)]
    cut = cut[:, ::-1] if p.turned else cut
    shown = steps.apply(image, specs)
    rows, columns = ((np.arange(n) + 0.5) / n for n in shown.shape)
    expected = cut[(rows * cut.shape[0]).astype(int)][:, (columns * cut.shape[1]).astype(int)]
    assert np.median(np.abs(shown - expected)) < 0.02
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.9


def test_the_dense_square_is_where_the_image_is_bright():
    image = np.zeros((100, 100), np.float32)
    image[55:95, 50:90] = 1.0
    specs = [{"step": "density_crop", "share": 0.5}, {"step": "resize", "height": 20, "width": 20}]
    assert place.trace(image, specs) == Place(45, 50, 95, 100, False)
    assert place.trace(image[:, ::-1], specs) == Place(5, 50, 55, 100, False)


def test_places_of_a_mirrored_knee_are_told_in_the_crops_own_frame():
    halves = card_of(*HALVES)
    right = place.places(halves, np.zeros((80, 80), np.float32), mirrored=False)
    left = place.places(halves, np.zeros((80, 80), np.float32), mirrored=True)
    assert [p.left for p in right] == [0, 48]
    assert [p.left for p in left] == [48, 0]
    assert place.parts(right) == (0, 1)
    assert place.parts(left) == (1, 0)


def test_halves_have_their_maps_side_by_side_and_the_rest_is_not_seen():
    inputs = place.places(card_of(*HALVES), np.zeros((80, 80), np.float32), mirrored=True)
    maps = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    laid = place.spread(maps, inputs, (80, 80))[0]
    assert np.isnan(laid[:20]).all()
    assert np.isnan(laid[60:]).all()
    assert np.isnan(laid[:, 32:48]).all()
    # corners of the map at corners of the halves: cubic enlargement goes little beyond
    for (y, x), value in {(20, 0): 0, (20, 31): 1, (20, 48): 2, (59, 79): 7}.items():
        assert laid[y, x] == pytest.approx(value, abs=0.6)
    with pytest.raises(BadBundle, match="maps of 3 columns"):
        place.spread(maps[..., :3], inputs, (80, 80))


def test_twins_have_one_map_on_the_first():
    twins = card_of([BAND], [BAND, {"step": "clahe", "clip": 2.0}])
    inputs = place.places(twins, np.full((80, 80), 0.5, np.float32), mirrored=False)
    assert place.parts(inputs) == (0,)
    laid = place.spread(np.ones((5, 3, 3), np.float32), inputs, (80, 80))
    assert laid.shape == (5, 80, 80)
    np.testing.assert_array_equal(np.isfinite(laid[0]).all(axis=1).nonzero()[0], np.arange(20, 60))


def test_halves_are_shown_side_by_side_and_upright():
    """What `--explain` draws behind the maps of a Siamese network is the whole band."""
    image = np.linspace(0, 1, 80, dtype=np.float32)[None].repeat(80, 0)
    specs = [
        [BAND, {"step": "patch", "part": "left"}],
        [BAND, {"step": "patch", "part": "right"}, {"step": "mirror"}],
    ]
    inputs = place.places(card_of(*specs), image, mirrored=False)
    shown = place.shown([steps.apply(image, s) for s in specs], inputs)
    np.testing.assert_array_equal(shown, image[20:60])


def test_explained_view_of_two_halves_is_the_whole(tmp_path, monkeypatch):
    """Of the bundle's inputs the left half alone would be half as wide as its maps."""
    from kellgren import predict
    from kellgren.grade import Grader
    from kellgren.simulate import draw_crop, write_png
    from stub_bundle import CropsOnly, StubSession

    class Halves(StubSession):
        def run(self, names, feeds):
            return super().run(names, {"both": np.concatenate(list(feeds.values()), axis=3)})

    monkeypatch.setattr(predict, "_session", lambda opened, threads: Halves())
    entries = [
        {"name": part, "view": part, "size": [64, 32], "channels": 1, "steps": [*specs]}
        for part, specs in {
            "left": [{"step": "resize", "height": 64, "width": 64}, {"step": "patch", "part": "left"}],
            "right": [
                {"step": "resize", "height": 64, "width": 64},
                {"step": "patch", "part": "right"},
                {"step": "mirror"},
            ],
        }.items()
    ]
    folder = stub_bundle.write_bundle(tmp_path / "bundle", card(inputs=entries))
    file = write_png(draw_crop(np.random.default_rng(3), KL=2, side="R"), tmp_path / "a.png")
    grader = Grader(bundle.load(folder), localiser=CropsOnly(), threads=1)
    [knee] = grader.grade(file, input="crop", side="R", explain=True)
    assert knee.view.shape == (64, 64)
    [whole] = Grader(
        bundle.load(stub_bundle.write_bundle(tmp_path / "whole")), localiser=CropsOnly(), threads=1
    ).grade(file, input="crop", side="R", explain=True)
    np.testing.assert_allclose(knee.view, whole.view, atol=1e-5)
