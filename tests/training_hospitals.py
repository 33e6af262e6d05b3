"""Hospitals that train: workspaces with patients, a signed plan, approvals; Flower's part is the tests' own."""

from __future__ import annotations

import datetime
import socket
from pathlib import Path
from typing import Any

import yaml

from client.workspace.workspace import Workspace
from common.cohort.schema import Consent, Purpose
from common.consortium.plan import RunPlan, read_plan
from common.storage import sha256_file
from deploy.folder import ConsortiumFolder
from simulations.weights import THIN
from tests.agents import ROWS, import_patients, set_policy
from tests.consortium_folder import done, make_consortium

NAMES = ("clinic-a", "clinic-b", "clinic-c", "clinic-d")
RUN = "spring"
TRAINED = Consent(purposes=frozenset({Purpose.TRAIN}))
EXPIRES = datetime.date(2099, 12, 31)


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def found_trainers(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    """A consortium of hospitals whose patients agreed to training and whose policies allow it."""
    workspaces, _ = make_consortium(folder, names)
    for index, (name, workspace) in enumerate(workspaces.items()):
        known = {f"{name}-{number}": ROWS[number % (2 + index % 2)] for number in range(8 + index)}
        import_patients(workspace, known, consent=lambda patient: TRAINED)
        set_policy(workspace, allow={"train": True})
    return folder


def draft(**changes: Any) -> dict[str, Any]:
    """A plan as people write it: the shipped network, the head alone, two rounds."""
    return {
        "run": RUN,
        "silos": list(NAMES),
        "use": "methods",
        "aim": "To see that hospitals can train together.",
        "superlink": f"127.0.0.1:{free_port()}",
        "model": {"architecture": "thin", "sha256": sha256_file(THIN)},
        "training": {"rounds": 2, "warmup_rounds": 1, "trainable_fraction": 0, "batch_size": 4},
        "encoding": {"views": 1, "ensemble": False},
        "deadline_s": 60,
        "expires": EXPIRES.isoformat(),
        **changes,
    }


def sign_plan(folder: Path, **changes: Any) -> Path:
    """The file that the operator signs."""
    written = draft(**changes)
    path = folder / f"{written['run']}.yaml"
    path.write_text(yaml.safe_dump(written))
    done("consortium", "plan", folder / "operator", path)
    return folder / "operator" / "plans" / f"{written['run']}.json"


def plan_in(folder: Path, path: Path) -> RunPlan:
    """What a signed file says."""
    return read_plan(path.read_bytes(), ConsortiumFolder(folder / "operator").offline_key)


def approve(folder: Path, name: str, plan: Path) -> Path:
    """Take in and approve a plan at a hospital; the file for the operator."""
    run = plan.stem
    done("silo", "plans", "add", folder / name, plan)
    done("silo", "plans", "approve", folder / name, run)
    return folder / name / "plans" / f"{run}.approval.json"


def workspace(folder: Path, name: str) -> Workspace:
    """A hospital's workspace."""
    return Workspace(folder / name)
