"""A file in, one assessment per knee out: twins of one film, sides, reasons, what an assessment offers."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest

import kellgren
import stub_bundle
from films import raster, write
from kellgren.errors import NotAKnee, WrongUse
from kellgren.grade.grader import Grader
from kellgren.locate.boxes import iou
from kellgren.model import bundle
from kellgren.report.picture import draw
from kellgren.simulate import draw_film, write_dicom, write_png
from stub_bundle import card

FEATURES = ("FL", "FM", "TL", "TM", "JSN_L", "JSN_M")


def same(one, other, atol):
    assert one.gradings.keys() == other.gradings.keys()
    for task in one.gradings:
        np.testing.assert_allclose(
            one[task].probabilities, other[task].probabilities, atol=atol, err_msg=task
        )
    assert one["KL"].grade == other["KL"].grade


# --- twins: one film, several files ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def coarse(phantoms):
    """A right knee whose grey values are 8 bit, so that every file format holds it without rounding."""
    return replace(phantoms["R"], pixels=phantoms["R"].pixels & np.uint16(0xFF00))


@pytest.fixture(scope="module")
def twin_of(grader, coarse, tmp_path_factory):
    """Grade the film as one DICOM file or another."""
    folder = tmp_path_factory.mktemp("twins")

    def grade(name, **options):
        (knee,) = grader.grade(write_dicom(coarse, folder / f"{name}.dcm", **options))
        return knee

    return grade


@pytest.fixture(scope="module")
def reference(twin_of):
    return twin_of("reference", bits_stored=16)


@pytest.mark.parametrize(
    "options",
    [
        {"bits_stored": 8},
        {"bits_stored": 12},
        {"bits_stored": 16, "photometric": "MONOCHROME1"},
        {"bits_stored": 12, "photometric": "MONOCHROME1"},
        {"bits_stored": 16, "slope": 0.25, "intercept": -1000.0},
        {"bits_stored": 12, "slope": 3.5, "intercept": 17.0},
        {"bits_stored": 12, "signed": True},
        {"bits_stored": 16, "signed": True, "photometric": "MONOCHROME1", "slope": 2.0, "intercept": -5.0},
    ],
    ids=lambda o: "-".join(str(v) for v in o.values()),
)
def test_twins_get_the_same_grades(twin_of, reference, options):
    twin = twin_of("twin", **options)
    same(twin, reference, atol=1e-3)
    assert (twin.side, twin.side_source) == (reference.side, reference.side_source) == ("R", "tag")


def test_png_is_a_twin_too(grader, coarse, reference, tmp_path):
    for bits in (8, 16):
        (knee,) = grader.grade(write_png(coarse, tmp_path / f"film{bits}.png", bits=bits), side="R")
        same(knee, reference, atol=1e-3)
        assert knee.side_source == "user"


def test_bytes_are_graded_as_the_file_is(grader, coarse, tmp_path):
    path = write_png(coarse, tmp_path / "9000099R.png")
    (from_file,), (from_bytes,) = grader.grade(path), grader.grade_bytes(path.read_bytes(), path)
    same(from_file, from_bytes, atol=0)
    assert from_bytes.path == path


def test_left_knee_equals_its_mirror_called_right(grader, phantoms, tmp_path):
    left = phantoms["L"]
    mirrored = replace(left, pixels=np.ascontiguousarray(left.pixels[:, ::-1]))
    (as_left,) = grader.grade(write_png(left, tmp_path / "a.png", bits=16), side="L")
    (as_right,) = grader.grade(write_png(mirrored, tmp_path / "b.png", bits=16), side="R")
    same(as_left, as_right, atol=1e-6)
    assert (as_left.side, as_right.side) == ("L", "R")


# --- what an assessment offers ---------------------------------------------------------------------------


def test_assessment(grader, phantom_png):
    (knee,) = grader.grade(phantom_png, side="R")
    assert (knee.path, knee.knee, knee.box) == (phantom_png, 1, (0.0, 0.0, 299.0, 299.0))
    assert knee.model == grader.title == bundle.load().card.title
    assert set(knee.gradings) == {"KL", "OA", *FEATURES}
    assert "KL" in knee
    assert "SIDE" not in knee
    assert knee.explanation is None
    for task, grading in knee.gradings.items():
        assert grading.task == task
        assert sum(grading.probabilities) == pytest.approx(1)
        assert all(0 <= p <= 1 for p in grading.probabilities)
        assert grading.expected == pytest.approx(
            np.dot(grading.probabilities, range(len(grading.probabilities)))
        )
        assert isinstance(grading.grade, int)
        assert 0 <= grading.grade < len(grading.probabilities)
        if grading.interval is not None:
            low, high = grading.interval
            assert 0 <= low <= grading.grade <= high < len(grading.probabilities)
    assert knee["KL"].calibrated
    assert knee["KL"].interval is not None
    assert len(knee["KL"].probabilities) == 5
    assert knee.refer is bool(knee.reasons)
    assert knee.status == ("refer" if knee.refer else "graded")
    assert bool(knee.reason) is knee.refer
    with pytest.raises(KeyError):
        knee["HIP"]


def test_explained_assessment_has_maps_whose_mean_is_the_logit(grader, phantom_png):
    """Maps are of the crop as it was cut: without the other framings the mean is the logit."""
    opened = bundle.load("joint")
    as_cut = Grader(replace(opened, card=opened.card.changed(tta=("flip",))), threads=1)
    (knee,) = as_cut.grade(phantom_png, side="R", explain=True)
    height, width = grader.model.card.inputs[0].size
    shown = knee.explanation
    assert shown.view.shape == (height, width)
    assert (shown.view.min(), shown.view.max()) == (0.0, 1.0)
    maps = shown.maps["KL"]
    assert maps.shape[0] == 5
    calibrator = grader.model.card.calibration.calibrators["KL"]
    values = calibrator.probabilities(maps.astype(float).mean(axis=(1, 2)))
    np.testing.assert_allclose(values / values.sum(), knee["KL"].probabilities, atol=1e-4)
    (framed,) = grader.grade(phantom_png, side="R", explain=True)
    np.testing.assert_allclose(framed.explanation.maps["KL"], maps, atol=1e-4)


def test_package_offers_the_same_names():
    assert kellgren.load is not None
    assert kellgren.Grader is Grader
    with pytest.raises(AttributeError, match="no attribute 'grades'"):
        _ = kellgren.grades


# --- what can be graded, and by which words -----------------------------------------------------------------


def test_a_path_bytes_an_array_and_a_data_set_are_graded_alike(stub, phantoms, tmp_path):
    grader = stub()
    path = write_dicom(phantoms["R"], tmp_path / "film.dcm", bits_stored=16)
    (reference,) = grader.grade(str(path))
    for image in (path, path.read_bytes(), pydicom.dcmread(path)):
        (knee,) = grader.grade(image)
        same(knee, reference, atol=0)
        assert (knee.side, knee.side_source) == ("R", "tag")
    for values in (phantoms["R"].pixels, phantoms["R"].pixels / 7.0):
        (knee,) = grader.grade(values, side="R")
        same(knee, reference, atol=1e-3)


@pytest.mark.parametrize("word", ["left", "Left", "L", "l", "LT", "left knee"])
def test_the_side_may_be_written_in_any_way(stub, word):
    (knee,) = stub().grade(halves(bright="right"), side=word)
    (lettered,) = stub().grade(halves(bright="right"), side="L")
    assert (knee.side, knee.side_source) == ("L", "user")
    same(knee, lettered, atol=0)


@pytest.mark.parametrize(
    "options", [{"side": "lft"}, {"side": "both"}, {"input": "crops"}, {"layout": "turned"}], ids=str
)
def test_unknown_words_are_refused(stub, options):
    for error in (kellgren.KellgrenError, ValueError):
        with pytest.raises(error, match="use "):
            stub().grade(halves(), **options)
        with pytest.raises(error, match="use "):
            stub().grade(np.zeros((96, 96)), **options)


@pytest.mark.parametrize(
    "image", [3, None, np.zeros((96, 96, 3)), np.full((96, 96), np.nan), np.zeros((96, 96), bool)], ids=repr
)
def test_what_is_no_image_is_refused(stub, image):
    with pytest.raises(WrongUse):
        stub().grade(image)


# --- reasons for a person to read it ---------------------------------------------------------------------


@pytest.fixture
def stub(tmp_path, stub_session):
    def make(certainty=40.0, **changes):
        stub_session.certainty = certainty
        opened = bundle.load(stub_bundle.write_bundle(tmp_path / "stub", card(**changes)))
        return Grader(opened, localiser=stub_bundle.CropsOnly(), joint_line=stub_bundle.SureLine())

    return make


def halves(*, bright="left", shape=(240, 240)):
    """A film that the stub takes for a right knee, or for a left one: one half brighter."""
    image = np.random.default_rng(0).integers(0, 60, shape).astype(np.uint8)
    half = shape[1] // 2
    image[:, slice(0, half) if bright == "left" else slice(half, None)] += 180
    return raster(image)


@pytest.mark.parametrize(("bright", "side"), [("left", "R"), ("right", "L")])
def test_side_is_read_off_the_image(stub, bright, side):
    (knee,) = stub().grade_bytes(halves(bright=bright), "film.png")
    assert (knee.side, knee.side_source) == (side, "image")
    assert not knee.refer
    assert "FL" in knee


@pytest.mark.parametrize(("name", "source"), [("9000099L.png", "name"), ("film.png", "user")])
def test_wrong_side_is_referred(stub, name, source):
    side = "L" if source == "user" else None
    (knee,) = stub().grade_bytes(halves(), name, side=side)
    assert (knee.side, knee.side_source) == ("L", source)
    assert knee.refer
    assert knee.status == "refer"
    assert f"side L by {source}" in knee.reason
    assert "looks like the other knee" in knee.reason
    (right,) = stub().grade_bytes(halves(), "9000099R.png")
    assert not right.refer


def test_mirrored_phantom_with_the_wrong_name_is_referred_once_the_side_is_certain(phantoms, tmp_path):
    """The packaged bundle, made to trust itself: the mirror of a knee contradicts the knee's side."""
    opened = bundle.load()
    right = Grader(opened).model.predict(phantoms["R"].pixels, "R").side_agreement
    if right <= 0.5:
        pytest.skip("this bundle does not know the side of simulated knees")
    calibration = opened.card.calibration.changed(side_certainty=0.5 + (right - 0.5) / 2)
    grader = Grader(replace(opened, card=opened.card.changed(calibration=calibration)))
    path = write_png(phantoms["R"], tmp_path / "film.png", bits=16)
    (named_right,) = grader.grade(path, side="R")
    (named_left,) = grader.grade(path, side="L")
    assert not any("other knee" in r for r in named_right.reasons)
    assert any("other knee" in r for r in named_left.reasons)


def test_a_side_that_the_image_does_not_show_is_referred(stub):
    """Agreement 1 / (1 + e^-0.5) = 0.62: no contradiction, but less than ordinary knees have."""
    calibration = {"temperature": {}, "conformal": {}, "side_doubt": 0.7}
    (doubted,) = stub(certainty=0.5, calibration=calibration).grade_bytes(halves(), "9000099R.png")
    assert doubted.reasons == (
        "the image shows neither a right nor a left knee: is it a front view of a joint?",
    )
    (sure,) = stub(certainty=4.0, calibration=calibration).grade_bytes(halves(), "9000099R.png")
    (never,) = stub(certainty=0.5).grade_bytes(halves(), "9000099R.png")
    assert not sure.refer
    assert not never.refer


def test_a_side_read_by_one_look_is_checked_by_all(stub):
    """One look and all looks say 0.94; a card that wants more has the knee referred."""
    sure = {"temperature": {}, "conformal": {}, "side_doubt": 0.7}
    unsure = {**sure, "side_doubt": 0.99}
    (believed,) = stub(certainty=4.0, calibration=sure).grade_bytes(halves(), "film.png")
    (doubted,) = stub(certainty=4.0, calibration=unsure).grade_bytes(halves(), "film.png")
    assert (believed.side, believed.side_source, believed.reasons) == ("R", "image", ())
    assert (doubted.side, doubted.reasons) == ("R", ("the side read from the image is unsure",))


def test_a_knee_without_a_stated_side_costs_one_look_more(stub, stub_session):
    grader = stub(tta=["flip", "framing"])
    looks = []
    for name in ("9000099R.png", "film.png"):
        stub_session.seen.clear()
        grader.grade_bytes(halves(), name)
        looks.append(sum(len(images) for images in stub_session.seen))
    assert looks == [10, 11]


def test_unknown_side_is_referred_and_its_features_are_left_open(stub):
    (knee,) = stub(certainty=0.0).grade_bytes(halves(), "film.png")
    assert (knee.side, knee.side_source) == (None, None)
    assert "side unknown" in knee.reason
    assert set(knee.gradings) == {"KL", "OA"}
    (whole,) = stub(certainty=0.0, side_convention="none").grade_bytes(halves(), "film.png")
    assert {"FL", "FM"} <= set(whole.gradings)


def test_contradicting_tag_and_name_are_referred(grader, phantoms, tmp_path):
    (knee,) = grader.grade(write_dicom(phantoms["R"], tmp_path / "9000099L.dcm"))
    assert (knee.side, knee.side_source) == (None, None)
    assert knee.refer
    assert "tag says R" in knee.reason
    assert "name says L" in knee.reason
    assert 0 <= knee["KL"].grade <= 4


def test_user_who_contradicts_the_tag_decides_and_is_referred(grader, phantoms, tmp_path):
    (knee,) = grader.grade(write_dicom(phantoms["R"], tmp_path / "film.dcm"), side="L")
    assert (knee.side, knee.side_source) == ("L", "user")
    assert "the user says L, the laterality tag says R" in knee.reason


def test_unusual_image_is_referred(stub, tmp_path):
    arrays = {
        "mean": np.zeros(2, np.float32),
        "components": np.eye(2, dtype=np.float16)[:1],
        "variances": np.full(1, 1e-4, np.float32),
        "residual": np.full(1, 1e-4),
    }
    calibration = {"temperature": {}, "conformal": {}, "out_of_distribution": {"threshold": 3.0}}
    (tmp_path / "stub").mkdir()
    np.savez(tmp_path / "stub" / "typical.npz", **arrays)
    (knee,) = stub(calibration=calibration).grade_bytes(halves(), "9000099R.png")
    assert knee.reasons == ("unlike the knee crops that the model was fitted on",)


@pytest.mark.parametrize(("grades", "referred"), [(5, True), (6, False)])
def test_wide_interval_is_referred(stub, grades, referred):
    calibration = {
        "temperature": {"KL": 1.0},
        "conformal": {"KL": {"threshold": 1.0, "coverage": 0.9}},
        "refer": {"KL_interval_grades": grades},
    }
    (knee,) = stub(calibration=calibration).grade_bytes(halves(), "9000099R.png")
    assert knee["KL"].interval == (0, 4)
    assert knee.reasons == (("unsure: KL 0 to 4 are all plausible",) if referred else ())


def test_decision_rule_is_the_cards(stub):
    # logits near [0.9 0.1 3 0 0] flattened by the temperature: grade 2 is most probable, grade 1 the median
    calibration = {"temperature": {"KL": 10.0}, "conformal": {}}
    film = halves()
    (by_mode,) = stub(calibration=calibration).grade_bytes(film, "9000099R.png")
    (by_median,) = stub(calibration=calibration, decision={"KL": "median"}).grade_bytes(film, "9000099R.png")
    p = np.array(by_mode["KL"].probabilities)
    assert by_mode["KL"].grade == p.argmax() == 2
    assert by_median["KL"].grade == int((p.cumsum() >= 0.5).argmax())


# --- what is not graded ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(96, 120), (150, 96)])
def test_oblong_image_is_no_crop_unless_the_user_says_so(stub, tmp_path, shape):
    path = write(tmp_path, "9000099R.png", halves(shape=shape))
    grader = stub()
    with pytest.raises(NotAKnee, match=r"no knee joint.*--input crop"):
        grader.grade(path)
    (knee,) = grader.grade(path, input="crop")
    assert knee.box == (0, 0, shape[1], shape[0])


def test_nearly_square_image_is_a_crop(stub):
    (knee,) = stub().grade_bytes(halves(shape=(96, 104)), "9000099R.png")
    assert knee.box == (0, 0, 104, 96)


def test_a_film_without_a_joint_is_refused_with_a_remedy(stub):
    with pytest.raises(NotAKnee, match=r"no knee joint.*--input crop"):
        stub().grade_bytes(halves(), "film.png", input="film")


def test_a_crop_that_the_localiser_does_not_know_is_referred(grader):
    (knee,) = grader.grade_bytes(halves(shape=(299, 299)), "9000099R.png", input="crop")
    assert "the localiser does not recognise a knee joint in front view" in knee.reasons


@pytest.fixture(scope="module")
def film():
    return draw_film(np.random.default_rng(3), knees=2, view="ap", hardware="none", inverted=False)


@pytest.fixture(scope="module")
def on_film(grader, film):
    return grader.grade_bytes(raster((film.pixels >> 8).astype(np.uint8)), "film.png", explain=True)


def test_both_knees_of_a_film_are_graded(on_film, film):
    assert [knee.knee for knee in on_film] == [1, 2]
    for knee, drawn in zip(on_film, film.knees, strict=True):
        assert iou(np.array([knee.box]), np.array([drawn.box]))[0, 0] > 0.7
        assert knee.side in (drawn.side, None)
        assert not knee.explanation.is_image
        assert draw(knee).size[0] > 1000


def test_key_points_of_a_film_are_inside_its_boxes(on_film):
    for knee in on_film:
        x0, y0, x1, y1 = knee.box
        assert ((knee.points > [x0, y0]) & (knee.points < [x1, y1])).all()


def test_joint_space_is_in_widths_without_a_spacing(on_film):
    for knee in on_film:
        if knee.side is not None:
            assert knee.joint_space.unit == "width"
            assert 0 <= knee.joint_space.medial.minimum <= 0.2


def test_joint_space_is_in_millimetres_with_one(grader, phantoms, tmp_path):
    path = write_dicom(phantoms["R"], tmp_path / "film.dcm")
    (knee,) = grader.grade(path, input="crop")
    assert knee.joint_space.unit == "mm"
    assert knee.joint_space.spacing_source == "detector"
    assert 0 <= knee.joint_space.medial.minimum < 12


@pytest.mark.parametrize("wrong", [4.0, 0.25, 0.1])
def test_millimetres_that_no_knee_has_are_withheld_and_noted(grader, phantoms, tmp_path, wrong):
    spacing_mm = phantoms["R"].spacing_mm * wrong
    (knee,) = grader.grade(write_dicom(replace(phantoms["R"], spacing_mm=spacing_mm), tmp_path / "film.dcm"))
    assert (knee.joint_space.unit, knee.joint_space.spacing_source) == ("width", None)
    assert any("pixel spacing withheld" in note for note in knee.notes)
    assert not knee.refer


def test_one_stated_side_for_a_film_of_two_knees_is_referred(grader, film):
    encoded = raster((film.pixels >> 8).astype(np.uint8))
    for knee in grader.grade_bytes(encoded, "9000099R.png"):
        assert "but the film shows 2 knees" in knee.reason


def test_black_image_is_no_knee(stub):
    with pytest.raises(NotAKnee):
        stub().grade_bytes(raster(np.zeros((96, 96), np.uint8)), "film.png")
