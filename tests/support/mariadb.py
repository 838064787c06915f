"""A MariaDB server for tests: its own data, its own port, and no password."""

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.services import eventually

MISSING = "there is no mariadbd; on Debian: apt install mariadb-server"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def program() -> str | None:
    """Return the server's program, or None if it is not installed."""
    return shutil.which("mariadbd", path=PATH)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a server during the block; return its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    common = ("--no-defaults", f"--user={getpass.getuser()}", f"--datadir={folder / 'data'}")
    install = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(install, check=True, capture_output=True, text=True)
    settings = (f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}")
    quick = ("--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M")
    log = folder / "log"
    with (
        log.open("w") as stream,
        subprocess.Popen(
            [str(program()), *common, *settings, *quick], stdout=stream, stderr=stream
        ) as process,
    ):
        try:
            eventually(lambda: "ready for connections" in log.read_text(), 60, log.read_text)
            yield f"mysql://root@127.0.0.1:{port}"
        finally:
            process.terminate()
