"""Passwords and tokens that the tests plant, and the search for them in all that is left behind.

A pytest plugin: :func:`clean` looks through what a process has said, and the end of the session through every
file below pytest's temporary directory that a test has not written as an input.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

SECRET = "geheim7f3a"
WORDS = (
    "geheim",  # in every planted password
    "cmVhZGVyOmdlaGVp",  # reader:geheim…, as a browser sends it
    "guess-zebra", "token-zebra", "query-zebra", "open sesame",
)  # fmt: skip
INPUTS = {".toml", ".py", ".pyc", ".so", ".db", ".sqlite", ".duckdb", ".parquet"}
"""Endings of what tests write themselves: settings, which may hold a password, and stores."""

LARGEST_BYTES = 20_000_000
FOUND: pytest.StashKey[list[str]] = pytest.StashKey()


def clean(text: str, *more: str) -> str:
    """Return what a process has said, if nothing planted is in it."""
    held = [word for word in (*WORDS, *more) if word and word in text]
    lines = [line for line in text.splitlines() if any(word in line for word in held)]
    assert not held, f"a planted secret is shown: {held} in {lines[:3]}"
    return text


def finds(root: Path, *more: str) -> Iterator[str]:
    """Yield each file below ``root`` that holds something planted, and what, and each name that does."""
    words = [word.encode() for word in (*WORDS, *more)]
    for path in sorted(root.rglob("*")):
        if any(word in path.name.encode("utf-8", "surrogateescape") for word in words):
            yield f"{path}: in its name"
        if path.is_symlink() or not path.is_file() or path.suffix in INPUTS:
            continue
        if path.stat().st_size <= LARGEST_BYTES:
            content = path.read_bytes()
            yield from (f"{path}: holds {word.decode()}" for word in words if word in content)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search what the tests have left, and let the session fail for it.

    With xdist, the process that started the workers searches: their directories lie in its own.
    """
    if hasattr(session.config, "workerinput"):
        return
    factory = getattr(session.config, "_tmp_path_factory", None)
    base = getattr(factory, "_basetemp", None)  # None: no test asked for a directory
    found = session.config.stash[FOUND] = list(finds(base)) if base else []
    if found and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print where they are."""
    if found := config.stash.get(FOUND, []):
        terminalreporter.section("planted secrets were left behind")
        for line in found:
            terminalreporter.line(line)
