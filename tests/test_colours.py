"""Whether the series can be told apart: by every kind of colour vision, and without colours."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from reportgen.theme import DARK, LIGHT, SERIES_DARK, SERIES_LIGHT

Vector = NDArray[np.float64]

# In the order of the stack, from the bottom: "other" closes it.
STACKS = {"light": (*SERIES_LIGHT, LIGHT["other"]), "dark": (*SERIES_DARK, DARK["other"])}
PAPERS = {"light": LIGHT["paper"], "dark": DARK["paper"]}

XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""Linear sRGB to CIE XYZ (IEC 61966-2-1, white D65)."""

MACHADO = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}
"""What dichromats see, in linear sRGB: Machado, Oliveira & Fernandes 2009, severity 1.0."""

CONES = np.array([[0.15514, 0.54312, -0.03286], [-0.15514, 0.45684, 0.03286], [0.0, 0.0, 0.00801]])
"""CIE XYZ to the responses of the L, M and S cones: Smith & Pokorny 1975."""

SEEN_ALIKE = {660: [0.1649, 0.0610, 0.0000], 485: [0.05795, 0.1693, 0.6162]}
"""CIE 1931 XYZ of the two lights (nm) that look the same with and without S cones: Brettel et al. 1997."""
