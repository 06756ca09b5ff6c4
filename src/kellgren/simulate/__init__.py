"""Simulated knee radiographs: known truth, no patient, no licence to ask for.

    grades -> anatomy (mm) -> attenuation (path lengths) -> exposure (grey) -> writers

Each arrow is one module with one main function. They serve tests, examples and golden inputs; a model
trained on them alone grades simulated knees and nothing else.
"""

from kellgren.simulate.crop import Phantom, Truth, draw_crop, draw_graded_crop
from kellgren.simulate.folder import simulate
from kellgren.simulate.grades import Grades, draw_grades
from kellgren.simulate.writers import write_dicom, write_png

__all__ = [
    "Grades",
    "Phantom",
    "Truth",
    "draw_crop",
    "draw_graded_crop",
    "draw_grades",
    "simulate",
    "write_dicom",
    "write_png",
]
