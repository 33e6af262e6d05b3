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
_SHOWN = 5


def permissions(site: Site) -> Iterator[Finding]:
    """Everything secret for the owner alone, the owner being who runs the agent."""
    folder, key_file = site.workspace.folder, site.workspace.about.key_file
    problems = list(_folder(folder))
    secret = [folder / name for name in PRIVATE_FILES] + sorted(folder.glob("ledger.sqlite*"))
    for name in PRIVATE_FOLDERS:
        secret += sorted(path for path in (folder / name).rglob("*") if path.is_file())
    if key_file is not None:
        secret.append(key_file)
        if not key_file.exists():
            yield failed(
                f"the key file {key_file} is not there", remedy="put it back, or mend key_file in workspace.json"
            )
    wrong = [path for path in secret if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    # One table of a cohort may be readable: its folder is closed. Those that lie open are named.
    open_to_others = [path for path in wrong if not _closed_above(path, folder)]
    for path in open_to_others[:_SHOWN]:
        mode = stat.S_IMODE(path.stat().st_mode)
        problems.append(failed(f"{path} has mode {mode:04o}", remedy=f"chmod 600 {path}"))
    if len(open_to_others) > _SHOWN:
        problems.append(
            failed(
                f"{len(open_to_others) - _SHOWN} more files can be read by others",
                remedy=f"chmod -R go= {folder}",
            )
        )
    if problems:
        yield from problems
    else:
        yield ok("the workspace and its keys are for their owner alone")


def _folder(folder: Path) -> Iterator[Finding]:
    found = folder.stat()
    if found.st_uid != os.geteuid():
        yield failed(
            f"{folder} belongs to user {found.st_uid}, and you are {os.geteuid()}",
            remedy="run the check, and the agent, as the workspace's owner",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        yield failed(f"{folder} has mode {mode:04o}", remedy=f"chmod 700 {folder}")


def _closed_above(path: Path, workspace: Path) -> bool:
    """Whether a folder between the workspace, which does not count itself, and the file keeps others out."""
    parents = path.parents[: path.parents.index(workspace)] if workspace in path.parents else ()
    return any(not stat.S_IMODE(parent.stat().st_mode) & 0o077 for parent in parents)
