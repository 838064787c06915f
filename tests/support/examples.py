"""The number of examples that Hypothesis draws."""

import os

from hypothesis import settings


def drawn(few: int) -> settings:
    """Return the settings of Hypothesis: few examples, always the same, or with ``FUZZ=long`` many others."""
    is_long = os.environ.get("FUZZ") == "long"
    return settings(
        max_examples=2000 if is_long else few, derandomize=not is_long, deadline=None, database=None
    )
