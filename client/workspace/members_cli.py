"""``phenofed silo members``: who belongs to the consortium, and whom of them this hospital has accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click
import typer
from typer.core import TyperGroup

from common.errors import AgentError

_HELP = """List the consortium's members, and accept new ones.

A member of a newer roster can neither ask this hospital anything nor stand in a gallery epoch with it before it is
accepted here, unless the policy has members: automatic."""
_EPILOG = "Exit codes: 0 done, 2 wrong usage, 3 refused input or not confirmed, 12 workspace."

Folder = Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The silo's folder.")]


class _ListFirst(TyperGroup):
    """``members WORKSPACE`` is short for ``members list WORKSPACE``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["list", *args])


def register(silo: typer.Typer) -> None:
    """Add ``members`` to the silo's commands."""
    members = typer.Typer(help=_HELP, cls=_ListFirst, no_args_is_help=True, epilog=_EPILOG)
    members.command("list", epilog=_EPILOG)(show)
    members.command("accept", epilog=_EPILOG)(accept)
    silo.add_typer(members, name="members")


def show(folder: Folder) -> None:
    """List the members, with the words of their keys to compare with them, and whether they are accepted here."""
    from client.workspace.members import Accepted, strangers
    from client.workspace.workspace import Workspace
    from common.consortium.console import say, show_table
    from common.consortium.words import fingerprint_words

    workspace = Workspace(folder)
    roster, accepted = workspace.roster(), Accepted(folder)
    waiting = strangers(roster, accepted, workspace.name)
    automatic = workspace.policy().members == "automatic" if (folder / "policy.yaml").exists() else False
    rows = []
    for member in roster.members:
        state = "yes"
        if member.name == workspace.name:
            state = "you"
        elif member.name in waiting:
            changed = "no: another card than before" if accepted.knows(member.name) else "no"
            state = "automatically" if automatic else changed
        words = fingerprint_words(member.card.fingerprint)
        rows.append((member.name, state, member.title, member.contact, str(member.joined), words))
    columns = ("name", "accepted", "title", "contact", "since", "words")
    show_table(f"{roster.consortium}, roster {roster.sequence}", columns, rows)
    if waiting and not automatic:
        say(f"next: phenofed silo members accept {folder} {min(waiting)}")


def accept(
    folder: Folder,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Roster names of new members.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="The words were compared: do not ask.")] = False,
) -> None:
    """Accept new members: from then on they may ask this hospital what its policy allows.

    Compare the words with each hospital by telephone: they stand for its keys. One that changed its card is shown
    as changed, and has to be accepted anew.

    Example: phenofed silo members accept workspace clinic-e
    """
    from client.audit.opening import written_down
    from client.workspace.members import Accepted
    from client.workspace.workspace import Workspace
    from common.consortium.console import confirm, say
    from common.consortium.words import fingerprint_words

    workspace = Workspace(folder)
    roster, accepted = workspace.roster(), Accepted(folder)
    found = [roster.member(name) for name in dict.fromkeys(names)]
    if any(member.name == workspace.name for member in found):
        raise AgentError(f"{workspace.name} is this hospital", remedy="name another member")
    for member in found:
        if accepted.holds(member.card):
            say(f"{member.name} is accepted already")
            continue
        if accepted.knows(member.name):
            say(f"{member.name} has another card than the one that was accepted: ask why before you go on")
        say(f"{member.name}: {member.title or 'no title'}, {member.contact}")
        say(f"its words: {fingerprint_words(member.card.fingerprint)}")
        confirm(f"Did {member.name} read out the same words?", yes=yes)
        with written_down(workspace, "member.accept", member=member.name):
            accepted.accept([member.card])
        say(f"{member.name} is accepted")
