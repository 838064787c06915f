"""``python -m reportgen``: the same as the command ``reportgen``."""

from reportgen.cli import command

if __name__ == "__main__":
    command()
