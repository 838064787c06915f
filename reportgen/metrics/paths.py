"""Select the paths of a window: those that a report lists, and those that it names in a sentence."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from reportgen.sources.statements import PathsReading, PathTotals

NAMED_ONE_IN = 20
NAMED_VISITS = 5
"""A sentence names a path whose visits changed by 5 % (one in 20) of the window's total and by 5 visits."""

MAX_LISTED = 100_000
"""Maximum number of paths in ``paths.csv``."""

PathsWriter = Callable[[Iterable[PathTotals], int], bytes]
"""Returns ``paths.csv`` from the rows of one window and the window's total."""


@dataclass(frozen=True)
class WindowPaths:
    """The paths of one window: those to list, those to name in a sentence, and ``paths.csv``.

    ``csv`` lists ``csv_paths`` of the ``path_count`` paths, which have ``csv_visits`` together.
    """

    listed: Sequence[PathTotals]
    changed_paths: Sequence[PathTotals]
    path_count: int
    csv: bytes
    csv_paths: int
    csv_visits: int


def smallest_named_change(total: int) -> int:
    """Return the change in visits from which on a path is named in a window with ``total`` visits."""
    return max(NAMED_VISITS, -(-total // NAMED_ONE_IN))


def sort_paths(reading: PathsReading, total: int, top_paths: int, paths_csv: PathsWriter) -> WindowPaths:
    """Sort one window's paths into listed and changed paths, and write its CSV, in one pass.

    ``total`` is the number of visits of the window. The first ``top_paths`` are listed. Paths that changed
    enough are named. The first :data:`MAX_LISTED` are written as CSV, and are never all in memory.
    """
    listed: list[PathTotals] = []
    changed_paths: list[PathTotals] = []
    enough = smallest_named_change(total)
    place = visits = 0

    def visited() -> Iterator[PathTotals]:
        nonlocal place, visits
        for row in reading.rows:
            if abs(row.difference) >= enough:
                changed_paths.append(row)
            if row.visits and place < MAX_LISTED:
                place += 1
                visits += row.visits
                if place <= top_paths:
                    listed.append(row)
                yield row

    csv = paths_csv(visited(), total)
    return WindowPaths(listed, changed_paths, reading.path_count, csv, place, visits)
