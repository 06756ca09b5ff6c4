"""An assessment in a notebook: as a row, a data frame, or a picture. The package face binds these to it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kellgren.errors import KellgrenError
from kellgren.grade.assessment import Assessment
from kellgren.report import picture
from kellgren.report.table import Row, columns, graded_row
from kellgren.vocabulary import TASKS

if TYPE_CHECKING:
    import pandas

_NOT_OF_A_RUN = ("root", "image_sha256")


def to_dict(assessment: Assessment) -> Row:
    """One knee as a row of `grades.csv`: every column of the model's tasks, None for what is unknown."""
    row = graded_row(assessment, assessment.path.name)
    return {name: row.get(name) for name in columns(assessment) if name not in _NOT_OF_A_RUN}


def to_frame(assessments: Iterable[Assessment]) -> pandas.DataFrame:
    """Knees as a pandas data frame, one row per knee.

    Raises:
        KellgrenError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise KellgrenError("a data frame needs pandas", remedy="pip install pandas") from None
    return pandas.DataFrame([to_dict(assessment) for assessment in assessments])


def to_html(assessment: Assessment) -> str:
    """What a notebook shows: the picture if the knee was graded with `explain`, else a table of grades."""
    head = f"<p><b>{html.escape(assessment.path.name)}</b>: {html.escape(picture.headline(assessment))}</p>"
    shown = assessment.explanation
    if shown is not None and shown.view is not None and "KL" in shown.maps:
        file = io.BytesIO()
        picture.draw(assessment).save(file, "PNG")
        encoded = base64.b64encode(file.getvalue()).decode("ascii")
        words = html.escape(picture.headline(assessment), quote=True)
        return f'<img alt="{words}" style="max-width:100%" src="data:image/png;base64,{encoded}">'
    rows = "".join(
        f"<tr><td>{task}</td><td>{html.escape(TASKS[task].title)}</td><td>{assessment[task].grade}</td>"
        f"<td>{', '.join(f'{p:.2f}' for p in assessment[task].probabilities)}</td></tr>"
        for task in assessment
    )
    names = "".join(f"<th>{name}</th>" for name in ("task", "", "grade", "probabilities"))
    return f"{head}<table><tr>{names}</tr>{rows}</table>"
