"""Simulated knee radiographs: known truth, no patient, no licence to ask for.

    grades -> anatomy (mm) -> attenuation (path lengths) -> exposure (grey) -> writers

Each arrow is one module with one main function. A crop is one joint; a film has one or two whole knees and
what lies on films beside them (`legs`, `marks`, `implants`, `lateral`). They serve tests, examples and
golden inputs; a model trained on them alone grades simulated knees and nothing else.
"""

from kellgren.simulate.crop import Phantom, Truth, draw_crop, draw_graded_crop
from kellgren.simulate.film import SimulatedFilm, SimulatedKnee, draw_film
from kellgren.simulate.film_folder import simulate_films
from kellgren.simulate.folder import simulate
from kellgren.simulate.grades import Grades, draw_grades
from kellgren.simulate.writers import write_dicom, write_png

__all__ = [
    "Grades",
    "Phantom",
    "SimulatedFilm",
    "SimulatedKnee",
    "Truth",
    "draw_crop",
    "draw_film",
    "draw_graded_crop",
    "draw_grades",
    "simulate",
    "simulate_films",
    "write_dicom",
    "write_png",
]
