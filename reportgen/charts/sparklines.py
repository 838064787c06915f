"""Small charts of one series, without axes: SVG path data for a box of ``len(values)`` x :data:`HEIGHT`.

They are beside the numbers that they show, so they have no text and are hidden from screen readers.
If every value is 0, each function returns ``None``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 20


@dataclass(frozen=True)
class Spark:
    """One small chart: ``width`` dates, and layers of (CSS class, path data) from back to front."""

    width: int
    layers: tuple[tuple[str, str], ...]


def bars(
    values: Sequence[int], *, highlighted: int | None = None, running: int | None = None
) -> Spark | None:
    """Draw a bar for each value.

    ``highlighted`` is the index of a value whose bar is in full colour while the others are grey; ``running``
    that of a day that is not over, whose bar is lighter.
    """
    if not any(values):
        return None
    rest = [0 if at in {highlighted, running} else value for at, value in enumerate(values)]
    kinds = {"mute" if highlighted is not None else "bar": rest}
    if highlighted is not None:
        kinds["bar"] = _keep_one(values, highlighted)
    if running is not None:
        kinds["faint"] = _keep_one(values, running)
    return Spark(len(values), tuple((name, bar_path(some, max(values))) for name, some in kinds.items()))


def with_mean(values: Sequence[int], mean: float) -> Spark | None:
    """Draw a grey bar for each value and a line at their mean."""
    top = max(values)
    if not top:
        return None
    level = _round(max(0.0, HEIGHT - HEIGHT * mean / top))  # the division may round upwards
    return Spark(len(values), (("mute", bar_path(values, top)), ("rule", f"M0 {level}H{len(values)}")))


def lines(now: Sequence[int], before: Sequence[int]) -> Spark | None:
    """Draw ``now`` as a line in front of ``before``, a grey line."""
    top = max(*now, *before)
    if not top:
        return None
    width = max(1, len(now) - 1)
    return Spark(width, (("ghost", line_path(before, top)), ("line", line_path(now, top))))


def bar_path(values: Sequence[int], top: int) -> str:
    """Return a vertical stroke for each value; ``top`` takes the whole height.

    A value above 0 has a stroke of at least one unit, so that it can be seen.
    """
    parts, behind = [f"M.5 {HEIGHT}"], 0
    for value in values:
        if value:
            height = max(1, round(HEIGHT * value / top))
            parts += [f"m{behind} 0"] * bool(behind) + [f"v-{height}m0 {height}"]
            behind = 0
        behind += 1
    return "".join(parts)


def line_path(values: Sequence[int], top: int) -> str:
    """Return a line through the values, one unit per date; a single value gives a horizontal line."""
    heights = [_round(1 + (HEIGHT - 2) * (1 - value / top)) for value in values]
    if len(heights) == 1:
        return f"M0 {heights[0]}h1"
    return "M" + "L".join(f"{at} {height}" for at, height in enumerate(heights))


def _keep_one(values: Sequence[int], at: int) -> list[int]:
    return [value if index == at else 0 for index, value in enumerate(values)]


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
