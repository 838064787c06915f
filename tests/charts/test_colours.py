"""Colours can be distinguished and read with every kind of colour vision, and in black and white.

A series is distinguished from every other one by its colour, so each two must differ for every reader.
The difference is measured as CIEDE2000 (Sharma, Wu & Dalal, "The CIEDE2000 Color-Difference Formula:
Implementation Notes, Supplementary Test Data, and Mathematical Observations", Color Research & Application
30, 2005): 1 is the least difference that is seen side by side; across a chart and its legend it takes about
ten times that.

What readers without one kind of cones see is simulated: deuteranopia and protanopia by Machado, Oliveira &
Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE TVCG 15, 2009
(matrices of severity 1.0, which its authors publish beside it); tritanopia, for which that model is no more
than an approximation, by Brettel, Viénot & Mollon, "Computerized simulation of color appearance for
dichromats", JOSA A 14, 1997.
"""

import math
from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from reportgen.charts.theme import DARK, LIGHT, SERIES_COUNT, SERIES_DARK, SERIES_LIGHT

Vector = NDArray[np.float64]

SCHEMES = {"light": LIGHT, "dark": DARK}
# In the order of the stack, from the bottom: "other" closes it.
STACKS = {"light": (*SERIES_LIGHT, LIGHT["other"]), "dark": (*SERIES_DARK, DARK["other"])}

LEAST = {"normal": 15, "deuteranopia": 10, "protanopia": 10, "tritanopia": 10}
"""CIEDE2000 between any two series, by vision."""

LEAST_LIGHTNESS = 8
"""CIE L* between neighbours in the stack, the only difference in a black-and-white print."""

XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""Linear sRGB to CIE XYZ (IEC 61966-2-1, white D65)."""

MACHADO = {
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
"""What dichromats see, in linear sRGB: Machado et al. 2009, severity 1.0."""

CONES = np.array([[0.15514, 0.54312, -0.03286], [-0.15514, 0.45684, 0.03286], [0.0, 0.0, 0.00801]]) @ XYZ
"""Linear sRGB to the responses of the L, M and S cones: Smith & Pokorny 1975."""

SEEN_ALIKE = {660: [0.1649, 0.0610, 0.0000], 485: [0.05795, 0.1693, 0.6162]}
"""CIE 1931 XYZ of the two lights (nm) that look the same with and without S cones: Brettel et al. 1997."""


def linear(colour: str) -> Vector:
    """Return a colour's linear sRGB."""
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def as_tritanope(light: Vector) -> Vector:
    """Keep L and M; S comes from the plane through white and the light of that side which is seen alike."""
    cones, white = CONES @ light, CONES @ np.ones(3)
    nanometres = 660 if cones[1] * white[0] < white[1] * cones[0] else 485
    seen = CONES @ np.linalg.solve(XYZ, np.array(SEEN_ALIKE[nanometres]))
    normal = np.cross(white, seen)
    cones[2] = -(normal[0] * cones[0] + normal[1] * cones[1]) / normal[2]
    return np.linalg.solve(CONES, cones)


SEEN: dict[str, Callable[[Vector], Vector]] = {
    "normal": lambda light: light,
    "deuteranopia": lambda light: MACHADO["deuteranopia"] @ light,
    "protanopia": lambda light: MACHADO["protanopia"] @ light,
    "tritanopia": as_tritanope,
}


def lab(light: Vector) -> Vector:
    """Return the CIE L*a*b* (white D65) of linear sRGB, as near as a screen can show it."""
    ratio = XYZ @ np.clip(light, 0, 1) / (XYZ @ np.ones(3))
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(one: Vector, two: Vector) -> float:
    """Return the difference of two colours in CIE L*a*b*: equations 2 to 22 of Sharma et al. 2005."""
    chroma = (math.hypot(*one[1:]) + math.hypot(*two[1:])) / 2
    stretch = 1 + 0.5 * (1 - math.sqrt(chroma**7 / (chroma**7 + 25**7)))
    (c1, h1), (c2, h2) = (
        (math.hypot(stretch * a, b), math.degrees(math.atan2(b, stretch * a)) % 360) for _, a, b in (one, two)
    )
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0
    hue = h1 + turn / 2 if c1 * c2 else h1 + h2
    d_hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    lightness, c = (one[0] + two[0]) / 2, (c1 + c2) / 2
    t = 1 + sum(
        weight * math.cos(math.radians(times * hue + shift))
        for weight, times, shift in ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63))
    )
    rotation = -math.sin(math.radians(60 * math.exp(-((((hue % 360) - 275) / 25) ** 2))))
    rotation *= 2 * math.sqrt(c**7 / (c**7 + 25**7))
    for_l = (two[0] - one[0]) / (1 + 0.015 * (lightness - 50) ** 2 / math.sqrt(20 + (lightness - 50) ** 2))
    for_c, for_h = (c2 - c1) / (1 + 0.045 * c), d_hue / (1 + 0.015 * c * t)
    return math.sqrt(for_l**2 + for_c**2 + for_h**2 + rotation * for_c * for_h)


def contrast(one: str, two: str) -> float:
    """Return the contrast ratio of two colours: WCAG 2.2, relative luminance."""
    dark, light = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, two))
    return (light + 0.05) / (dark + 0.05)


# The measures themselves.


@pytest.mark.parametrize(
    ("one", "two", "difference"),
    [
        ([50, 2.6772, -79.7751], [50, 0, -82.7485], 2.0425),
        ([50, -1.3802, -84.2814], [50, 0, -82.7485], 1.0000),
        ([50, 0, 0], [50, -1, 2], 2.3669),
        ([50, 2.49, -0.001], [50, -2.49, 0.0009], 7.1792),
        ([50, 2.49, -0.001], [50, -2.49, 0.0011], 7.2195),
        ([50, -0.001, 2.49], [50, 0.0011, -2.49], 4.7461),
        ([50, 2.5, 0], [73, 25, -18], 27.1492),
        ([50, 2.5, 0], [56, -27, -3], 31.9030),
        ([50, 2.5, 0], [58, 24, 15], 19.4535),
        ([60.2574, -34.0099, 36.2677], [60.4626, -34.1751, 39.4387], 1.2644),
        ([22.7233, 20.0904, -46.6940], [23.0331, 14.9730, -42.5619], 2.0373),
        ([90.8027, -2.0831, 1.4410], [91.1528, -1.6435, 0.0447], 1.4441),
        ([2.0776, 0.0795, -1.1350], [0.9033, -0.0636, -0.5514], 0.9082),
    ],
)
def test_the_difference_is_the_published_one(one: list[float], two: list[float], difference: float) -> None:
    """Pairs of the paper's table 1, chosen by its authors for common mistakes of implementations."""
    assert ciede2000(np.array(one), np.array(two)) == pytest.approx(difference, abs=5e-5)
    assert ciede2000(np.array(two), np.array(one)) == pytest.approx(difference, abs=5e-5)


@pytest.mark.parametrize("vision", SEEN)
def test_every_vision_sees_greys_as_they_are(vision: str) -> None:
    for grey in ("#000000", "#3c3c3c", "#8a8a8a", "#ffffff"):
        assert np.allclose(SEEN[vision](linear(grey)), linear(grey), atol=1e-3)


@pytest.mark.parametrize(
    ("vision", "one", "two"),
    [
        ("deuteranopia", "#b3762b", "#8a8329"),
        ("protanopia", "#8f7a2b", "#6f8328"),
        ("tritanopia", "#4f8f9f", "#4f9191"),
    ],
)
def test_a_vision_sees_nearly_the_same_colour_where_others_see_two(vision: str, one: str, two: str) -> None:
    def difference(seen: str) -> float:
        return ciede2000(*(lab(SEEN[seen](linear(colour))) for colour in (one, two)))

    assert difference(vision) < 0.6 * difference("normal")


def test_without_s_cones_only_the_two_others_count() -> None:
    """The simulation keeps L and M, and applied twice it gives the same."""
    for colour in (*SERIES_LIGHT, *SERIES_DARK):
        seen = as_tritanope(linear(colour))
        assert np.allclose((CONES @ seen)[:2], (CONES @ linear(colour))[:2])
        assert np.allclose(as_tritanope(seen), seen)


# Series.


@pytest.mark.parametrize("vision", LEAST)
@pytest.mark.parametrize("scheme", STACKS)
def test_any_two_series_differ_visibly(scheme: str, vision: str) -> None:
    """Eight colours and *Other*, all 36 pairs."""
    seen = {colour: lab(SEEN[vision](linear(colour))) for colour in STACKS[scheme]}
    assert len(seen) == SERIES_COUNT + 1
    alike = {
        pair: round(difference, 1)
        for pair in combinations(seen, 2)
        if (difference := ciede2000(*(seen[colour] for colour in pair))) < LEAST[vision]
    }
    assert alike == {}


@pytest.mark.parametrize("scheme", STACKS)
def test_neighbours_in_the_stack_differ_in_lightness(scheme: str) -> None:
    """In black-and-white prints and for readers who see few hues, it is the only difference."""
    alike = {
        pair: round(difference, 1)
        for pair in pairwise(STACKS[scheme])
        if (difference := float(abs(lab(linear(pair[0]))[0] - lab(linear(pair[1]))[0]))) < LEAST_LIGHTNESS
    }
    assert alike == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_two_lines_of_a_comparison_differ_in_lightness(scheme: str) -> None:
    now, before = (lab(linear(SCHEMES[scheme][name]))[0] for name in ("accent", "ghost"))
    assert abs(now - before) >= 2 * LEAST_LIGHTNESS


# Contrast, as WCAG 2.2 AA asks.


@pytest.mark.parametrize("ground", ["paper", "wash"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_has_enough_contrast_with_its_background(scheme: str, ground: str) -> None:
    """4.5:1 (1.4.3)."""
    colours = SCHEMES[scheme]
    ratios = {text: contrast(colours[text], colours[ground]) for text in ("ink", "quiet", "accent")}
    assert {text: round(ratio, 2) for text, ratio in ratios.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_number_has_enough_contrast_with_the_bar_of_its_share(scheme: str) -> None:
    assert contrast(SCHEMES[scheme]["ink"], SCHEMES[scheme]["share"]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bars_and_lines_have_enough_contrast_with_the_background(scheme: str) -> None:
    """3:1 (1.4.11): every series, the outline of *Other*, and both lines of a comparison."""
    colours = SCHEMES[scheme]
    drawn = (*STACKS[scheme][:-1], colours["accent"], colours["ghost"])
    ratios = {colour: contrast(colour, colours["paper"]) for colour in drawn}
    assert {colour: round(ratio, 2) for colour, ratio in ratios.items() if ratio < 3} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_other_stands_out_least(scheme: str) -> None:
    paper = SCHEMES[scheme]["paper"]
    ratios = [contrast(colour, paper) for colour in STACKS[scheme]]
    assert 1.3 < ratios[-1] < 0.75 * min(ratios[:-1])
