"""What operators and hospitals see and answer at a terminal when they provision."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.cohort.reading import printable
from common.errors import ConfigError


def read_file(path: Path, *, limit: int) -> bytes:
    """The content of a file that somebody handed over.

    Raises:
        ConfigError: it cannot be read or has more than ``limit`` bytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})", remedy="check the path") from error
    if len(content) > limit:
        raise ConfigError(f"{path} is larger than {limit} bytes", remedy="is this the file?")
    return content


def confirm(question: str, *, yes: bool) -> None:
    """Ask at the terminal, unless ``yes`` answers beforehand.

    Raises:
        ConfigError: the answer is no, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("nobody is there to confirm", remedy="compare the words, then give --yes")
    if not typer.confirm(question, err=True):
        raise ConfigError("not confirmed; nothing was changed", remedy="compare the words again")


def say(text: str = "") -> None:
    """Print one line, without what could steer a terminal."""
    Console().print(Text(printable(text)), soft_wrap=True)


def show_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table of plain cells."""
    table = Table(*columns, title=Text(printable(title)), title_justify="left")
    for row in rows:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    Console().print(table)
