from pathlib import Path

import pytest

from counter.tests.support import sqlite_url
from tests.conftest import pg, pg_database, pg_server, run

__all__ = ["pg", "pg_database", "pg_server", "run"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "metrics.db")
    return str(request.getfixturevalue("pg"))
