"""A copy of the audit log for somebody else to read and verify."""

from __future__ import annotations

import json
from pathlib import Path

from client.audit.files import log_files
from client.audit.head import FILE
from client.audit.opening import CARD
from common.consortium.identity import Card
from common.errors import AgentError
from common.storage import write_bytes


def export(log: Path, card: Card, out: Path) -> int:
    """Copy lines, sealed end and card to a new folder; the number of files of lines.

    Raises:
        AgentError: there is no log, or ``out`` holds something.
    """
    files = log_files(log)
    if not files:
        raise AgentError(f"{log} holds no audit log", remedy="name a workspace whose agent has run")
    if out.exists() and any(out.iterdir()):
        raise AgentError(f"{out} is not empty", remedy="name a new folder")
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The end first: lines that are added meanwhile are then lines after it, and never missing ones.
    if (log / FILE).exists():
        write_bytes(out / FILE, (log / FILE).read_bytes(), private=True)
    for _, path in files:
        write_bytes(out / path.name, path.read_bytes(), private=True)
    write_bytes(out / CARD, (json.dumps({"card": card.to_json()}) + "\n").encode(), private=True)
    return len(files)
