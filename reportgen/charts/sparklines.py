"""Small pictures of one series, without axes: SVG path data for a box ``len(values)`` by :data:`HEIGHT`.

They stand beside the numbers they picture, so they carry no text and are hidden from screen readers.
There is no picture of nothing: where every value is 0, each function returns ``None``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 20


@dataclass(frozen=True)
class Spark:
    """One picture: ``width`` dates, and layers of (CSS class, path data) from back to front."""

    width: int
    layers: tuple[tuple[str, str], ...]


def bars(values: Sequence[int], *, lit: int | None = None, faint: int | None = None) -> Spark | None:
    """Draw a bar for each value; all quiet but ``lit`` where one is named, and ``faint`` lighter.

    ``lit`` and ``faint`` are indices.
    """
    if not any(values):
        return None
    rest = [0 if at in {lit, faint} else value for at, value in enumerate(values)]
    kinds = {"mute" if lit is not None else "bar": rest}
    if lit is not None:
        kinds["bar"] = _only(values, lit)
    if faint is not None:
        kinds["faint"] = _only(values, faint)
    return Spark(len(values), tuple((name, bar_path(some, max(values))) for name, some in kinds.items()))


def with_mean(values: Sequence[int], mean: float) -> Spark | None:
    """Draw a quiet bar for each value and a line at their mean."""
    top = max(values)
    if not top:
        return None
    level = _round(HEIGHT - HEIGHT * mean / top)
    return Spark(len(values), (("mute", bar_path(values, top)), ("rule", f"M0 {level}H{len(values)}")))


def lines(now: Sequence[int], before: Sequence[int]) -> Spark | None:
    """Draw one series as a line before another, quiet one."""
    top = max(*now, *before)
    if not top:
        return None
    width = max(1, len(now) - 1)
    return Spark(width, (("ghost", line_path(before, top)), ("line", line_path(now, top))))


def bar_path(values: Sequence[int], top: int) -> str:
    """Return a stroke up from the bottom for each value, ``top`` being the whole height.

    A value above 0 is never invisible.
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
    """Return a line from the first date to the last, one apart; one value gives a level line."""
    heights = [_round(1 + (HEIGHT - 2) * (1 - value / top)) for value in values]
    if len(heights) == 1:
        return f"M0 {heights[0]}h1"
    return "M" + "L".join(f"{at} {height}" for at, height in enumerate(heights))


def _only(values: Sequence[int], at: int) -> list[int]:
    return [value if index == at else 0 for index, value in enumerate(values)]


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
