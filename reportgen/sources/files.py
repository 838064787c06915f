"""The database file that a source URL names."""

from pathlib import Path
from urllib.parse import unquote

from reportgen.core.errors import ConfigError, SourceUnavailable


def file_from_url(url: str, scheme: str) -> Path:
    """Return the file that a ``scheme:///…`` URL names: three slashes are relative, four are absolute.

    ``sqlite:///tmp/x.db`` returns ``/tmp/x.db`` if only that file exists: to forget a slash is common.

    Raises:
        ConfigError: the URL names a host, names no file, or the file's name cannot be used.

    """
    host, _, name = url[len(scheme) + len("://") :].partition("?")[0].partition("/")
    if host:
        raise ConfigError(f"source.url: a {scheme} URL names a file, not a host: write {scheme}:///name")
    if not name.strip("/"):
        raise ConfigError(f"source.url: names no file: write {scheme}:///name")
    relative, absolute = Path(unquote(name)), Path("/" + unquote(name))
    try:
        return absolute if not relative.exists() and absolute.exists() else relative
    except OSError as exc:  # for example a name that is too long, or a directory without permission
        raise ConfigError(f"source.url: {exc.strerror}: write {scheme}:///name of a file") from None


def check_file(file: Path, scheme: str) -> None:
    """Check that the file of a ``scheme:///…`` URL exists.

    Raises:
        SourceUnavailable: it does not exist.

    """
    if not file.is_file():
        raise SourceUnavailable(
            f"{file}: no such file. {scheme}:///name is relative to the working directory ({Path.cwd()}); "
            f"an absolute path takes four slashes: {scheme}:////data/name"
        )
