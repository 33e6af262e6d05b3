"""The audit log of a workspace, and who is at work in it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from client.audit.entry import is_fact, reason_of, user
from client.audit.log import AuditLog
from client.workspace.workspace import Workspace
from common.config import Settings
from common.consortium.console import read_file
from common.consortium.identity import Card
from common.consortium.request import read_request
from common.errors import AgentError, PhenofedError

FOLDER, CARD = "audit", "card.json"


class _ExportedCard(Settings):
    card: tuple[str, str, str]


def log_folder(workspace: Workspace) -> Path:
    """Where its audit log lies."""
    return workspace.folder / FOLDER


def open_log(workspace: Workspace, *, sealing: bool = False) -> AuditLog:
    """The workspace's log.

    Args:
        sealing: with the silo's private key, as the agent does; commands leave it to the agent.
    """
    return AuditLog(log_folder(workspace), workspace.member() if sealing else None)


def this_user() -> str:
    """The ``who`` of the OS user that runs this process."""
    number = os.getuid()
    try:
        return user(pwd.getpwuid(number).pw_name)
    except KeyError:
        return user(f"uid-{number}")


@contextmanager
def written_down(workspace: Workspace, event: str, **facts: str) -> Iterator[None]:
    """Let a command leave a line that names its OS user, done or refused; facts that do not fit are left out."""
    log = open_log(workspace)
    told = {name: value for name, value in facts.items() if is_fact(name, value)}
    note = partial(log.record, event, this_user(), **told)  # type: ignore[arg-type]
    try:
        yield
    except PhenofedError as error:
        note(outcome="refused", reason=reason_of(error))
        raise
    note()


def find_log(folder: Path) -> tuple[Path, Card]:
    """(the log, the card that sealed it) of a workspace, or of a folder that ``silo audit export`` wrote.

    The card is the roster's where the silo has joined. That of an exported folder is as good as the fingerprint
    that its reader knows from elsewhere.

    Raises:
        AgentError: neither of them.
    """
    if (folder / CARD).is_file():
        try:
            content = _ExportedCard.model_validate_json(read_file(folder / CARD, limit=1 << 12))
            return folder, Card.from_json(list(content.card))
        except ValueError as error:
            raise AgentError(f"{folder / CARD} is damaged", remedy="export the log again") from error
    workspace = Workspace(folder)
    if workspace.about.offline_key is not None and (folder / "roster.json").exists():
        return log_folder(workspace), workspace.roster().member(workspace.name).card
    return log_folder(workspace), read_request(read_file(folder / "request.json", limit=1 << 16)).card
