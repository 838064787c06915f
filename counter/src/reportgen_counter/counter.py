"""The visits of a process, and the thread that writes them."""

import _thread
import atexit
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from logging import getLogger
from queue import Empty, SimpleQueue
from random import uniform
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

from reportgen_counter.database import UnsureCommitError, advice_for, writer_for
from reportgen_counter.user_agents import program_of
from reportgen_counter.visits import Response, paths_pattern, visited_path

MAX_KEYS = 50_000
"""Maximum number of pairs of date and path in memory."""
WRITE_AT_KEYS = 10_000
"""Number of pairs at which they are written before it is time."""
ENDING_FLUSH_S = 0.1
"""Time between two writes after SIGTERM: a server that ends may answer requests for a while."""
SHUTDOWN_S = 10
"""Maximum time that the end of the process waits for the database."""

logger = getLogger("reportgen_counter")
_counters: list["Counter"] = []


class Counter:
    """Counts visits in memory, and adds them to the table ``metrics`` at least every ``flush_s`` seconds.

    One for each process is enough. Threads may share it. After a fork the child counts from zero. Responses
    whose path one of the globs ``exclude`` matches are not counted.

    Raises:
        ValueError: an argument is not valid.

    """

    def __init__(
        self, url: str, timezone: str = "UTC", flush_s: float = 15, exclude: Sequence[str] = ()
    ) -> None:
        if isinstance(exclude, str):
            raise ValueError(f'exclude is a text; write a list of globs: ["{exclude}"]')  # noqa: TRY004
        if not flush_s > 0:
            raise ValueError(f"flush_s {flush_s} is not a number of seconds greater than 0")
        self.overflow = 0
        """Number of visits that were lost because there were :data:`MAX_KEYS` others in memory."""
        self._write = writer_for(url)
        self._zone = _zone(timezone)
        self._flush_s = flush_s
        self._excluded = paths_pattern(exclude)
        self.start_empty()
        program_of("AppleWebKit")  # loads the list, which takes 0.1 s: no request waits for it
        _counters.append(self)
        if len(_counters) == 1:
            _handle_sigterm()

    def start_empty(self) -> None:
        """Forget all visits, as in the child after a fork: the parent writes them, and has the thread."""
        self._lock = threading.Lock()
        self._buffer: dict[tuple[str, str], int] = {}
        # Its put() may be called in a handler of a signal that interrupts another put().
        self._asked: SimpleQueue[SimpleQueue[bool]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._error_logged = self._is_failing = False
        self._overflow_logged = self.overflow = 0

    def count_response(self, read: Callable[..., Response], *parts: Any) -> None:
        """Count the response that ``read(*parts)`` returns if it is a visit. It never raises an error."""
        try:
            path = visited_path(read(*parts))
            if path is not None and not self._excluded.fullmatch(path):
                self.add(path)
        except Exception:
            if not self._error_logged:
                self._error_logged = True
                logger.exception("a response could not be counted; further errors are not logged")

    def add(self, path: str) -> None:
        """Count one visit of ``path`` on today's date."""
        key = (datetime.now(self._zone).date().isoformat(), path)
        with self._lock:
            before = len(self._buffer)
            self._add(key, 1)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="reportgen-counter", daemon=True)
                thread.start()
                self._thread = thread
            is_full = before < WRITE_AT_KEYS == len(self._buffer)
        if is_full:
            self._asked.put(SimpleQueue())

    def flush(self, timeout_s: float = SHUTDOWN_S) -> bool:
        """Write now. Return whether all visits were written within ``timeout_s`` seconds."""
        if self._thread is None:
            return True
        answer: SimpleQueue[bool] = SimpleQueue()
        self._asked.put(answer)
        with suppress(Empty):
            return answer.get(timeout=timeout_s)
        return False

    def write_soon(self) -> None:
        """Write now and from now on often, without waiting: the process ends."""
        self._flush_s = ENDING_FLUSH_S
        self._asked.put(SimpleQueue())

    @property
    def waiting(self) -> int:
        """Number of visits in memory."""
        with self._lock:
            return sum(self._buffer.values())

    def _add(self, key: tuple[str, str], visits: int) -> None:
        if key in self._buffer or len(self._buffer) < MAX_KEYS:
            self._buffer[key] = self._buffer.get(key, 0) + visits
        else:
            self.overflow += visits

    def _run(self) -> None:
        """Write at intervals that vary, so that processes started together do not write together."""
        while True:
            answer = None
            with suppress(Empty):
                answer = self._asked.get(timeout=self._flush_s * uniform(0.8, 1))  # noqa: S311
            is_written = self._write_buffer()
            if answer is not None:
                answer.put(is_written)

    def _write_buffer(self) -> bool:
        """Write all visits, and return whether that worked. If not, they stay in memory."""
        with self._lock:
            buffer, self._buffer = self._buffer, {}
        if not buffer:
            return True
        try:
            self._write(sorted((date, path, visits) for (date, path), visits in buffer.items()))
        except UnsureCommitError as exc:
            # Written again, they might be counted twice.
            logger.warning("%d visits may be lost: %s", sum(buffer.values()), advice_for(exc))
            return False
        except Exception as exc:  # noqa: BLE001 - the thread must go on, whatever the driver raises
            with self._lock:  # for a moment only: few visits came meanwhile
                newer, self._buffer = self._buffer, buffer
                for key, visits in newer.items():
                    self._add(key, visits)
            self._log_failure(exc)
            return False
        if self._is_failing:
            self._is_failing = False
            logger.warning("the database can be written again")
        return True

    def _log_failure(self, error: Exception) -> None:
        """Log an error once, until the database can be written again or more visits are lost."""
        if not self._is_failing:
            self._is_failing = True
            logger.warning("visits wait in memory, because they cannot be written: %s", advice_for(error))
        if self.overflow > self._overflow_logged:
            self._overflow_logged = self.overflow
            logger.warning("%d visits are lost: %d paths wait in memory", self.overflow, MAX_KEYS)


def _zone(name: str) -> tzinfo:
    if name == "UTC":  # needs no time zone database
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(
            f'timezone "{name}" is not a known time zone. Use an IANA name such as "Europe/Berlin";'
            " where the system has no time zone database, install tzdata"
        ) from None


def _handle_sigterm() -> None:
    """Let SIGTERM write the visits first. The earlier handler, or the default action, follows."""
    if threading.current_thread() is not threading.main_thread():
        return
    earlier = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        # Waits for nothing: the interrupted code may hold the lock.
        for counter in _counters:
            counter.write_soon()
        if callable(earlier):
            earlier(number, frame)
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _thread.start_new_thread(_flush_and_end, ())

    if callable(earlier) or earlier is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, handle)


def _flush_and_end() -> None:
    _flush_all()
    os.kill(os.getpid(), signal.SIGTERM)


@atexit.register
def _flush_all() -> None:
    for counter in _counters:
        if not counter.flush():
            logger.warning("the process ends, and at least %d visits are lost", counter.waiting)


def _after_fork() -> None:
    for counter in _counters:
        counter.start_empty()


os.register_at_fork(after_in_child=_after_fork)
