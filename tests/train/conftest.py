"""Fixtures of the training tests: a data set with points, real films, a tiny recipe of every kind."""

import shutil
from dataclasses import replace

import numpy as np
import pytest


@pytest.fixture(scope="session")
def pointed_set(training_set, tmp_path_factory):
    """The phantom training set with an invented table of points."""
    import pointed

    folder = tmp_path_factory.mktemp("pointed") / "set"
    shutil.copytree(training_set, folder)
    pointed.write_points(folder)
    return folder


@pytest.fixture(scope="session")
def two_films(tmp_path_factory):
    """A folder of two simulated films with `boxes.csv`."""
    import cv2

    from kellgren import simulate
    from kellgren.locate import eight_bit

    folder, rows = tmp_path_factory.mktemp("films"), ["file,x0,y0,x1,y1"]
    for number in (1, 2):
        film = simulate.draw_film(np.random.default_rng(number), knees=number, inverted=False)
        scale = 300 / max(film.pixels.shape)
        small = cv2.resize(film.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"film{number}.png"), eight_bit(np.asarray(small, np.uint16)))
        rows += [f"film{number}.png," + ",".join(f"{scale * c:.1f}" for c in knee.box) for knee in film.knees]
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny_recipes(tiny_recipe):
    """A recipe of every kind that trains in seconds."""
    from kellgren.train import kinds
    from kellgren.train.graders import recipe as recipes

    contour = kinds.from_dict(recipes.document("contour", size="small"))
    phases = (replace(contour.optimise.phases[0], epochs=2),)
    contour = replace(contour, width=4, optimise=replace(contour.optimise, phases=phases, batch=4))

    def detector(name):
        recipe = kinds.from_dict(recipes.document(name, size="small"))
        return replace(recipe, material=replace(recipe.material, composed=1, simulated=2, real=1))

    def short(level):
        return replace(level, near=4, far=4, epochs=2, batch=16)

    locate, mtcnn, hog = (detector(name) for name in ("locate", "locate-mtcnn", "locate-hog"))
    locate = replace(locate, level1=replace(short(locate.level1), width=4), level2=short(locate.level2))
    mtcnn = replace(
        mtcnn,
        level1=short(mtcnn.level1),
        level2=short(mtcnn.level2),
        level3=short(mtcnn.level3),
        tune=replace(mtcnn.tune, epochs=1),
        search=replace(mtcnn.search, proposals=10),
    )
    return {
        "grader": tiny_recipe,
        "contour": contour,
        "locate": replace(locate, tune=replace(locate.tune, epochs=2)),
        "mtcnn": mtcnn,
        "hog": replace(hog, near=4, far=4, mined=2),
    }
