"""The command ``reportgen``, also as ``python -m reportgen``."""

import gc

gc.disable()  # what a start loads stays: to look through it again and again takes a twentieth of the start

from reportgen.cli.main import command  # noqa: E402 - in that order

gc.freeze()
gc.enable()

if __name__ == "__main__":
    command()
