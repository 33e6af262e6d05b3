"""Help that fills the reader's terminal, however its docstring was folded in the source."""

from __future__ import annotations

import inspect
import re

import typer


def refold(app: typer.Typer) -> None:
    """Let the terminal fold the help of every command and group of ``app``, and not the source."""
    for command in app.registered_commands:
        command.help = unfolded(command.help or inspect.getdoc(command.callback) or "")
    for group in app.registered_groups:
        instance = group.typer_instance
        if instance is None:
            continue
        if isinstance(instance.info.help, str):
            instance.info.help = unfolded(instance.info.help)
        refold(instance)


def unfolded(text: str) -> str:
    """Each paragraph on one line; lines that are indented stay, as do those of a table or a list."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(
        paragraph if re.search(r"^(\s|[|*-] )", paragraph, re.MULTILINE) else " ".join(paragraph.split("\n"))
        for paragraph in paragraphs
    )
