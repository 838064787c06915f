"""The queries of panels: one statement with bound dates, read as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass

Value = bool | int | float | str | None
"""A value of a result: dates and times are ISO texts, floats are finite."""


@dataclass(frozen=True)
class PanelRows:
    """The result of a panel's query.

    ``cut`` says that it had more rows than were read; ``not_finite`` counts numbers that became ``None``,
    because JSON has neither NaN nor infinity.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    cut: bool = False
    not_finite: int = 0
