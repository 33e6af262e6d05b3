"""Signing a run's plan: from the YAML file that people write to the document that hospitals approve."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from common.config import parse, read_yaml
from common.consortium.fields import split_address
from common.consortium.plan import RunPlan, Use, write_plan
from common.errors import ConfigError
from common.storage import write_bytes
from deploy.folder import ConsortiumFolder, OfflineKeys


def read_draft(folder: ConsortiumFolder, path: Path) -> RunPlan:
    """The plan in a YAML file, for this consortium's members.

    Raises:
        ConfigError: it does not fit, or names nobody known; every problem in one message.
    """
    plan = parse({**read_yaml(path), "consortium": folder.about.name}, RunPlan, origin=str(path))
    if unstated := [key for key in ("use", "aim") if getattr(plan, key) is None]:
        raise ConfigError(
            f"{path} does not state {' and '.join(unstated)}: what the run is for",
            remedy=f"add use: {', '.join(get_args(Use))}, and aim: one line that hospitals read",
        )
    roster = folder.roster()
    host = split_address(roster.relay)[0]
    if split_address(plan.superlink)[0] != host:
        raise ConfigError(
            f"{path}: superlink is not at {host}, for which the coordinator's certificate was issued",
            remedy=f"name {host} and a port",
        )
    unknown = [name for name in plan.silos if not roster.holds(name)]
    if unknown:
        raise ConfigError(f"{path} names no members: {', '.join(unknown)}", remedy="see phenofed consortium show")
    return plan


def sign(folder: ConsortiumFolder, plan: RunPlan, keys: OfflineKeys) -> Path:
    """Sign a plan; gives its file in the operator's folder.

    Raises:
        ConfigError: another plan of that run was signed.
    """
    path, content = folder.path / "plans" / f"{plan.run}.json", write_plan(plan, keys.signing)
    if path.exists() and path.read_bytes() != content:
        raise ConfigError(f"another plan of run {plan.run} was signed", remedy="give the run a new name")
    write_bytes(path, content)
    return path
