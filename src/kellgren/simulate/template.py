"""The average knee: rounded control points of each structure in an anteroposterior view.

Unit: width of the tibial plateau, corner to corner. Frame: origin in the middle of the plateau, x to the
medial side, y to the foot, so a right knee looks as on its radiograph (lateral on the image's left). The
two joint lines are the mean shape of normal knees, rounded; the rest was placed by hand.
"""

from __future__ import annotations

from typing import Final

Points = tuple[tuple[float, float], ...]

FEMUR_JOINT: Final[Points] = (
    (-0.478, -0.082), (-0.409, -0.066), (-0.335, -0.070), (-0.264, -0.085), (-0.175, -0.132),
    (-0.090, -0.185), (-0.005, -0.237), (0.089, -0.193), (0.169, -0.129), (0.253, -0.070),
    (0.332, -0.055), (0.415, -0.056), (0.492, -0.080),
)  # fmt: skip
"""Lateral margin -> lateral condyle -> notch -> medial condyle -> medial margin."""

FEMUR_APEX: Final = 6
"""Index in `FEMUR_JOINT` of the top of the notch."""

FEMUR_LATERAL: Final[Points] = (
    (-0.175, -5.600), (-0.184, -3.200), (-0.208, -2.300), (-0.246, -1.700), (-0.300, -1.240),
    (-0.320, -0.986), (-0.370, -0.821), (-0.448, -0.681), (-0.520, -0.555),
    (-0.552, -0.453), (-0.540, -0.364), (-0.496, -0.285), (-0.488, -0.212), (-0.505, -0.136),
    (-0.478, -0.082),
)  # fmt: skip
"""From the shaft down to the lateral margin."""

FEMUR_MEDIAL: Final[Points] = (
    (0.165, -5.600), (0.174, -3.200), (0.196, -2.300), (0.228, -1.700), (0.270, -1.240), (0.300, -0.986),
    (0.362, -0.821), (0.450, -0.707), (0.530, -0.605), (0.566, -0.504),
    (0.560, -0.402), (0.540, -0.288), (0.534, -0.199), (0.523, -0.129), (0.492, -0.080),
)  # fmt: skip

TIBIA_JOINT: Final[Points] = (
    (-0.500, 0.010), (-0.424, 0.003), (-0.345, 0.008), (-0.265, 0.005), (-0.193, -0.028), (-0.135, -0.081),
    (-0.072, -0.127), (-0.037, -0.096), (0.009, -0.102), (0.055, -0.121), (0.096, -0.143), (0.137, -0.076),
    (0.187, -0.014), (0.263, 0.010), (0.343, 0.009), (0.423, -0.001), (0.500, -0.010),
)  # fmt: skip
"""Lateral plateau margin -> eminence -> medial plateau margin."""

TIBIA_EMINENCE: Final = 8
"""Index in `TIBIA_JOINT` of the valley between the two spines."""

TIBIA_LATERAL: Final[Points] = (
    (-0.160, 5.600), (-0.158, 3.400), (-0.172, 2.400), (-0.208, 1.600), (-0.262, 1.044), (-0.305, 0.791),
    (-0.349, 0.575), (-0.406, 0.423), (-0.463, 0.296), (-0.508, 0.181),
    (-0.522, 0.093), (-0.518, 0.044), (-0.500, 0.010),
)  # fmt: skip
"""From the shaft up to the lateral plateau margin."""

TIBIA_MEDIAL: Final[Points] = (
    (0.150, 5.600), (0.152, 3.400), (0.164, 2.400), (0.196, 1.600), (0.246, 1.044), (0.279, 0.791),
    (0.324, 0.575), (0.387, 0.423), (0.451, 0.296), (0.495, 0.181),
    (0.518, 0.093), (0.519, 0.029), (0.500, -0.010),
)  # fmt: skip

FIBULA: Final[Points] = (
    (-0.552, 0.258), (-0.489, 0.251), (-0.419, 0.296), (-0.381, 0.385), (-0.393, 0.499), (-0.419, 0.664),
    (-0.420, 1.044), (-0.398, 1.600), (-0.345, 2.600), (-0.300, 3.600), (-0.275, 5.600), (-0.385, 5.600),
    (-0.425, 3.600), (-0.478, 2.600), (-0.528, 1.600), (-0.548, 1.044), (-0.565, 0.664), (-0.615, 0.499),
    (-0.654, 0.397), (-0.628, 0.308),
)  # fmt: skip
"""Closed: head and shaft, partly behind the tibia."""

PATELLA: Final[Points] = (
    (-0.032, -0.758), (0.133, -0.726), (0.247, -0.605), (0.235, -0.453), (0.133, -0.339), (-0.019, -0.275),
    (-0.171, -0.326), (-0.298, -0.453), (-0.311, -0.605), (-0.197, -0.726),
)  # fmt: skip
"""Closed: in front of the femur."""

FEMUR_LINES: Final[tuple[tuple[float, Points], ...]] = (
    (0.8, ((-0.514, -0.415), (-0.374, -0.434), (-0.222, -0.453), (-0.082, -0.415), (0.006, -0.396),
           (0.108, -0.421), (0.235, -0.459), (0.387, -0.466), (0.527, -0.453))),
    (0.9, ((-0.100, -0.175), (-0.121, -0.225), (-0.102, -0.288), (-0.057, -0.332), (0.006, -0.349))),
    (0.9, ((0.006, -0.349), (0.076, -0.332), (0.118, -0.275), (0.143, -0.199), (0.150, -0.148))),
    (1.6, ((0.112, -0.300), (0.148, -0.225), (0.165, -0.140))),
    (0.7, ((-0.450, -0.100), (-0.438, -0.200), (-0.420, -0.300), (-0.350, -0.385))),
    (0.8, ((0.465, -0.100), (0.488, -0.220), (0.470, -0.340), (0.400, -0.420))),
)  # fmt: skip
"""Open lines with their strength: scar of the growth plate, walls of the notch, backs of the condyles."""

TIBIA_LINES: Final[tuple[tuple[float, Points], ...]] = (
    (1.0, ((-0.489, 0.181), (-0.311, 0.175), (-0.146, 0.150), (0.006, 0.137), (0.159, 0.150), (0.336, 0.175),
           (0.489, 0.181))),
    (1.3, ((-0.482, 0.036), (-0.400, 0.048), (-0.298, 0.052), (-0.209, 0.029), (-0.140, -0.009))),
    (1.3, ((0.203, 0.010), (0.273, 0.036), (0.362, 0.040), (0.438, 0.030), (0.495, 0.014))),
    (0.9, ((-0.171, -0.015), (-0.095, -0.034), (-0.032, -0.053), (0.032, -0.047), (0.095, -0.028),
           (0.165, 0.010))),
    (1.0, ((-0.072, -0.120), (-0.050, -0.070), (-0.060, -0.020), (-0.090, 0.030))),
    (1.2, ((0.096, -0.135), (0.060, -0.080), (0.035, -0.030), (0.020, 0.030))),
)  # fmt: skip
"""Scar of the growth plate, the far rims of the two plateaus, and the slopes of the spines."""

LATERAL_WINDOW: Final = (-0.437, -0.146)
"""Stretch of x in which the lateral joint space is measured."""

MEDIAL_WINDOW: Final = (0.159, 0.450)
"""Stretch of x in which the medial joint space is measured."""

SKIN_LATERAL: Final[Points] = (
    (1.12, -5.6), (1.06, -3.2), (1.00, -2.2), (0.93, -1.3), (0.84, -0.6), (0.78, 0.0), (0.78, 0.5),
    (0.86, 1.0), (0.98, 1.7), (0.92, 2.5), (0.70, 3.5), (0.54, 5.6),
)  # fmt: skip
"""Distance from the axis of the leg to the lateral skin, and height."""

SKIN_MEDIAL: Final[Points] = (
    (1.30, -5.6), (1.20, -3.2), (1.08, -2.2), (0.96, -1.3), (0.82, -0.6), (0.73, 0.0), (0.73, 0.5),
    (0.84, 1.0), (0.97, 1.7), (0.86, 2.5), (0.62, 3.5), (0.48, 5.6),
)  # fmt: skip
"""The same medially."""

THICKNESS: Final[Points] = (
    (1.35, -5.6), (1.28, -3.2), (1.18, -2.2), (1.10, -1.3), (1.04, -0.6), (1.00, 0.0), (0.97, 0.5),
    (1.00, 1.0), (0.96, 1.7), (0.86, 2.5), (0.70, 3.5), (0.62, 5.6),
)  # fmt: skip
"""Thickness of the leg along the beam over that at the joint, and height."""
