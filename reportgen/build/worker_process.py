"""The process that builds one site after another, so that libraries and V8 load once.

It reads jobs from standard input and writes their results to standard output, both pickled. It ends with the
process that started it, after a while without a job, or after a build that timed out.
"""

import os
import pickle
import select
import signal
import sys
from typing import NoReturn

from reportgen.build.job import build_site
from reportgen.core.errors import TimedOut
from reportgen.core.processes import end_with

IDLE_S = 300
"""Seconds without a job after which the process ends."""


def main() -> NoReturn:
    """Build the jobs that arrive on standard input, until it is closed or idle."""
    end_with(int(sys.argv[1]))
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal sends Ctrl-C to all processes: the parent decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries may print there; only results may be there
    while select.select([0], [], [], IDLE_S)[0]:
        try:
            job = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent wrote it
        except EOFError:
            break
        result = build_site(job)
        pickle.dump(result, answers)
        answers.flush()
        if result.error == TimedOut.__name__:  # its thread still runs and holds the lock
            break
    os._exit(0)
