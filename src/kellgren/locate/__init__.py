"""Locate: where the joints are on a film.

In the order in which a film passes: `joint_crops` tells films from crops and cuts joints out; `cascade`, the
two-level detector, finds them; `windows` brings the film into the form that its networks take (training cuts
its samples with the same functions); `boxes` is arithmetic on boxes.
"""

from __future__ import annotations

from typing import Final

from kellgren.errors import BadBundle
from kellgren.locate.cascade import Cascade, Joint, Settings
from kellgren.locate.joint_crops import InputKind, JointCrop, joint_crops
from kellgren.locate.windows import eight_bit
from kellgren.model import bundle as bundles
from kellgren.model.bundle import Bundle

LEVELS: Final = ("level1.onnx", "level2.onnx")
"""The graphs of a localiser's bundle."""

DEFAULT: Final = "locate"
"""The packaged localiser."""

__all__ = [
    "DEFAULT",
    "LEVELS",
    "Cascade",
    "InputKind",
    "Joint",
    "JointCrop",
    "Settings",
    "eight_bit",
    "joint_crops",
    "load",
    "open_bundle",
]


def load(name_or_path: str = DEFAULT, *, threads: int = 1) -> Cascade:
    """The packaged localiser, or one in a folder or zip.

    Args:
        name_or_path: Name or path of its bundle.
        threads: Threads of one network evaluation.

    Raises:
        BadBundle: If there is no such bundle or it cannot be used.
    """
    return open_bundle(bundles.load(name_or_path), threads=threads)


def open_bundle(bundle: Bundle, *, threads: int = 1) -> Cascade:
    """A localiser ready for work.

    Raises:
        BadBundle: If the bundle is of another kind, lacks a setting, or a graph cannot be loaded.
    """
    where = str(bundle.root)
    stated = bundle.card.localiser
    if stated is None:
        raise BadBundle(f"{bundle.card.title} is a {bundle.card.kind}, not a localiser", path=where)
    settings = Settings(
        stated.window1, stated.window2, stated.propose, stated.accept, stated.proposals, stated.passes
    )
    first, second = (bundle.graph(name) for name in LEVELS)
    try:
        return Cascade(first, second, settings, threads=threads, bundle=bundle)
    except BadBundle as error:
        raise BadBundle(error.message, path=where) from error
