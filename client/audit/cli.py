"""``phenofed silo audit verify|show|export``: what was asked of this hospital, and whether its record holds."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated

import typer

_HELP = """Verify, show and export the audit log: who asked what, when, what became of it. It names no patient.

What verify cannot show: lines cut off that the agent had not sealed yet, log and sealed end put back together to
an older state, and what was written with the silo's own key. Note elsewhere the number and digest that it prints,
and give them as --noted the next time.

Example: phenofed silo audit verify workspace --noted 1204:9f2c..."""
_EPILOG = "Exit codes: 0 it holds, 2 wrong usage, 12 it does not hold, or no workspace."

Log = Annotated[
    Path, typer.Argument(metavar="WORKSPACE", help="The silo's workspace, or a folder that export wrote.")
]


def register(silo: typer.Typer) -> None:
    """Offer the commands under ``phenofed silo audit``."""
    application = typer.Typer(help=_HELP, no_args_is_help=True, epilog=_EPILOG)
    for command in (verify, show, export):
        application.command(epilog=_EPILOG)(command)
    silo.add_typer(application, name="audit")


def verify(
    folder: Log,
    noted: Annotated[
        str | None, typer.Option(metavar="NUMBER:DIGEST", help="A line as verify printed it before.")
    ] = None,
) -> None:
    """Check every line, their order and the sealed end; print the number and digest to note elsewhere."""
    from client.audit.opening import find_log
    from client.audit.verifying import verify as verified
    from common.consortium.console import say
    from common.consortium.words import fingerprint_words
    from common.errors import AgentError

    log, card = find_log(folder)
    verdict = verified(log, card, noted=None if noted is None else _line(noted))
    for fault in verdict.faults:
        say(f"fault: {fault}")
    for note in verdict.notes:
        say(f"note: {note}")
    say(f"{verdict.lines} lines in {verdict.files} files, sealed to line {verdict.sealed} by {card.name}")
    say(f"its words: {fingerprint_words(card.fingerprint)}")
    if verdict.faults:
        raise AgentError(
            f"the audit log of {card.name} does not hold: {verdict.faults[0]}",
            remedy="keep a copy as evidence, and find out who could write there",
        )
    say(f"it holds; note: {verdict.number}:{verdict.digest}")


def show(
    folder: Log,
    last: Annotated[int, typer.Option(min=1, max=100_000, help="So many lines, the newest.")] = 20,
    event: Annotated[str | None, typer.Option(help="Only this event, such as rank, import or withdraw.")] = None,
    who: Annotated[str | None, typer.Option(help="Only lines of this user or member.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as they are.")] = False,
) -> None:
    """Show the newest lines. Whether they can be believed is for verify to say."""
    from client.audit.entry import Entry, read_entry
    from client.audit.files import lines, log_files
    from client.audit.opening import find_log
    from common.consortium.console import say, show_table

    log, card = find_log(folder)
    found: deque[Entry] = deque(maxlen=last)
    unread = 0
    for _, path in log_files(log):
        for line, _ in lines(path):
            try:
                entry = read_entry(line)
            except ValueError:
                unread += 1
                continue
            if event in (None, entry.event) and who in (None, entry.who, entry.who.partition(" ")[2]):
                found.append(entry)
    if as_json:
        for entry in found:
            typer.echo(entry.line.decode())
        return
    rows = [
        (
            str(entry.number),
            entry.time,
            entry.who,
            entry.event,
            entry.outcome,
            "; ".join([*filter(None, [entry.reason]), *(f"{k} {v}" for k, v in sorted(entry.facts.items()))]),
        )
        for entry in found
    ]
    show_table(f"audit log of {card.name}", ("line", "time (UTC)", "who", "event", "outcome", "facts"), rows)
    if unread:
        say(f"{unread} lines cannot be read: run phenofed silo audit verify")


def export(
    folder: Log,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="New folder for the copy.")],
) -> None:
    """Copy log, sealed end and the silo's public card to a folder that verify reads anywhere."""
    from client.audit.exporting import export as exported
    from client.audit.opening import find_log
    from common.consortium.console import say
    from common.consortium.words import fingerprint_words

    log, card = find_log(folder)
    count = exported(log, card, out)
    say(f"{count} files of lines are in {out}; tell whoever reads them these words by another way:")
    say(fingerprint_words(card.fingerprint))


def _line(text: str) -> tuple[int, str]:
    from common.errors import ConfigError

    number, colon, digest = text.partition(":")
    if not (colon and number.isdigit() and len(digest) == 64):
        raise ConfigError(f"--noted: '{text[:80]}' is no NUMBER:DIGEST", remedy="copy it as verify printed it")
    return int(number), digest.lower()
