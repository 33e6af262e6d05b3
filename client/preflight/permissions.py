"""Who may read and change what the workspace holds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from client.preflight.finding import Finding, failed, ok
from client.preflight.site import Site

PRIVATE_FILES = ("private.key", "workspace.json", "members.json", "policy.yaml", "labels.yaml")
PRIVATE_FOLDERS = ("keys", "peers", "cohort", "gallery", "discovery", "kept")


def permissions(site: Site) -> Iterator[Finding]:
    """Everything secret for the owner alone, the owner being who runs the agent."""
    folder, key_file = site.workspace.folder, site.workspace.about.key_file
    problems = list(_workspace(folder))
    secret = [folder / name for name in PRIVATE_FILES] + sorted(folder.glob("ledger.sqlite*"))
    if key_file is not None:
        secret.append(key_file)
        if not key_file.exists():
            remedy = "put it back, or mend key_file in workspace.json"
            problems.append(failed(f"the key file {key_file} is not there", remedy=remedy))
    for path in secret:
        if path.exists() and _is_open(path):
            problems.append(failed(f"{path} has mode {_mode(path):04o}", remedy=f"chmod 600 {path}"))
    for path in (folder / name for name in PRIVATE_FOLDERS):
        # A file may be readable where its folder keeps others out, and the other way round.
        if path.exists() and _is_open(path) and any(_is_open(file) for file in path.rglob("*") if file.is_file()):
            problems.append(failed(f"{path} has mode {_mode(path):04o}", remedy=f"chmod 700 {path}"))
    yield from problems or [ok("the workspace and its keys are for their owner alone")]


def _workspace(folder: Path) -> Iterator[Finding]:
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        yield failed(
            f"{folder} belongs to user {owner}, and you are {os.geteuid()}",
            remedy="run the check, and the agent, as the workspace's owner",
        )
    if _is_open(folder):
        yield failed(f"{folder} has mode {_mode(folder):04o}", remedy=f"chmod 700 {folder}")


def _is_open(path: Path) -> bool:
    """Whether anybody but the owner has any right on it."""
    return bool(_mode(path) & 0o077)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
