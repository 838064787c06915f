"""Database files named by a source URL."""

from pathlib import Path
from urllib.parse import unquote

from reportgen.core.errors import ConfigError


def file_of(url: str, scheme: str) -> Path:
    """Return the file a ``scheme:///…`` URL names: three slashes relative, four absolute.

    ``sqlite:///tmp/x.db`` is also taken for ``/tmp/x.db`` where only that exists: the slip is
    common, and no other file can be meant.

    Raises:
        ConfigError: the URL names a host, or no file.

    """
    host, _, name = url[len(scheme) + len("://") :].partition("?")[0].partition("/")
    if host:
        raise ConfigError(f"source.url: a {scheme} URL names a file, not a host: write {scheme}:///name")
    if not name.strip("/"):
        raise ConfigError(f"source.url: names no file: write {scheme}:///name")
    relative, absolute = Path(unquote(name)), Path("/" + unquote(name))
    try:
        return absolute if not relative.exists() and absolute.exists() else relative
    except OSError as exc:  # a name that is too long, a directory that may not be looked into
        raise ConfigError(f"source.url: {exc.strerror}: write {scheme}:///name of a file") from None


def missing(file: Path, scheme: str) -> str:
    """Return the message for a file that is not there."""
    return (
        f"{file}: no such file. {scheme}:///name is relative to the working directory ({Path.cwd()}); "
        f"an absolute path takes four slashes: {scheme}:////data/name"
    )
