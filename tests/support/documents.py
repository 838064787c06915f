"""The documents and their fenced blocks."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "counter/README.md", "bench/README.md")
    for path in ROOT.glob(pattern)
)
"""The pages of the site that `make docs` builds."""
SEPARATORS = set("();<>|&")


@dataclass(frozen=True)
class Block:
    """A block of code: where it begins, the last heading above it, its language and its text."""

    file: str
    line: int
    heading: str
    language: str
    text: str

    @property
    def commands(self) -> Iterator[list[str]]:
        """The words of each simple command, without variables before it; also of commands in commands."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        for line in lines:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            command: list[str] = []
            for word in (*lexer, ";"):
                if not set(word) <= SEPARATORS:
                    assigned = word.partition("=")[0].isidentifier() and "=" in word
                    command += [word] if command or not assigned else []
                elif command:
                    yield command
                    yield from _inner_command(command)
                    command = []


def _inner_command(command: list[str]) -> Iterator[list[str]]:
    """Yield the command that a command of Fly or systemd runs."""
    if command[0] == "fly" and "-C" in command:
        yield shlex.split(command[command.index("-C") + 1])
    elif command[:3] == ["fly", "machine", "run"]:
        yield ["reportgen", *command[command.index("--") + 1 :]]
    elif command[0] == "systemd-run":
        yield command[next(i for i, word in enumerate(command) if word.startswith("/")) :]


def read_blocks(file: str, *languages: str) -> list[Block]:
    """Return the blocks of a document, or those in one of ``languages``; also blocks inside Markdown."""
    blocks = list(_blocks(file, (ROOT / file).read_text(), 1))
    return [block for block in blocks if not languages or block.language in languages]


def _blocks(file: str, text: str, first_line: int) -> Iterator[Block]:
    heading = ""
    tokens = MarkdownIt().parse(text)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "inline" and before and before.type == "heading_open":
            heading = token.content
        if token.type in {"fence", "code_block"} and token.map:
            line = first_line + token.map[0]
            yield Block(file, line, heading, token.info, token.content)
            if token.info == "markdown":
                yield from _blocks(file, token.content, line + 1)
