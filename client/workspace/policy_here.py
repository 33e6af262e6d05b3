"""What a policy names and this machine does not have: files, folders, OS groups."""

from __future__ import annotations

import grp
import os
from pathlib import Path

from client.workspace.policy import SiloPolicy
from common.errors import AgentError


def missing_here(policy: SiloPolicy) -> list[str]:
    """Every path and group that the policy names and that is not here, by key."""
    wanted: list[tuple[str, Path | None]] = []
    if policy.model is not None:
        wanted += [("model.release", policy.model.release), ("model.backbone.path", policy.model.backbone.path)]
    if policy.detector is not None:
        wanted.append(("detector.path", policy.detector.path))
    for key, socket in (("training.socket", policy.training.socket), ("clinic.socket", policy.clinic.socket)):
        wanted.append((f"{key}, its folder", socket and socket.parent))
    found = [f"'{key}': {path} is not there" for key, path in wanted if path is not None and not path.exists()]
    for key, group in (("training.group", policy.training.group), ("clinic.group", policy.clinic.group)):
        if group is not None and (problem := _group_problem(group)):
            found.append(f"'{key}': {problem}")
    return found


def check_here(policy: SiloPolicy) -> None:
    """Check that this machine has what the policy names.

    Raises:
        AgentError: it lacks something; everything in one message.
    """
    if problems := missing_here(policy):
        raise AgentError(f"policy.yaml names what is not here: {'; '.join(problems)}", remedy="mend those keys")


def _group_problem(name: str) -> str:
    try:
        number = grp.getgrnam(name).gr_gid
    except KeyError:
        return f"this machine knows no group {name}"
    if os.geteuid() != 0 and number not in (os.getegid(), *os.getgroups()):
        return f"you do not belong to group {name}, so that you cannot open a socket to it"
    return ""
