"""Training for real in a trial: a signed plan, an approval at each silo, rounds under Flower, a signed release."""

from __future__ import annotations

import datetime
import getpass
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from client.audit.opening import written_down
from client.plans.deciding import approve_plan
from client.plans.shelf import PlanShelf
from client.workspace.workspace import Workspace
from common.cohort import store
from common.cohort.schema import Patient, Purpose
from common.consortium.unlocking import find_secret
from common.errors import ConfigError
from common.releases.bare import read_release
from common.releases.facts import CardFacts, people_of
from common.storage import sha256_file, write_text
from deploy.folder import ConsortiumFolder
from deploy.plans import read_draft, sign
from server.training.facts import facts_of_rounds
from server.training.leading import lead, listening
from server.training.led_run import LedRun, begin_run
from simulations.poc.folder import TrialFolder
from simulations.poc.founding import free_port
from simulations.poc.releasing import adopt_everywhere, release
from simulations.scenario import Scenario, SyntheticCohort

DAYS = 7
"""For how long a trial's plan holds."""


def train(folder: TrialFolder, silos: Sequence[str], scenario: Scenario, say: Callable[[str], None]) -> str:
    """Train as the scenario says, and adopt the release everywhere; gives the run's name.

    Agents go on with the release that they have loaded until they are started anew.

    Raises:
        ConfigError: the scenario trains another network than the silos' policies name.
        TrainingError: the run stopped; it can be resumed by ``phenofed coordinator resume``.
    """
    backbone = scenario.backbone.path
    if backbone is None or _model(scenario) != _model(folder.about().scenario):
        raise ConfigError(
            "the scenario trains another network than this trial", remedy="use it in a trial of its own"
        )
    run = _next_run(folder)
    signed = _sign(folder, silos, scenario, run)
    say(f"signed the plan of {run}: {scenario.training.rounds} rounds with {', '.join(silos)}")
    approvals = [_approve(Workspace(folder.workspace(silo)), run, signed) for silo in silos]
    say("each of them has approved it; waiting until their Flower nodes are connected")
    led = begin_run(folder.relay, signed, approvals, backbone=backbone, parent=None)
    model = lead(led, listen=listening(led, None), say=say)
    made = release(folder, read_release(model), _facts(folder, silos, scenario, led), plan=led.plan.digest)
    adopt_everywhere(folder, silos, made)
    say(f"signed release {made.name}; every silo has adopted it")
    return run


def _model(scenario: Scenario) -> dict[str, Any]:
    """The backbone as a plan names it: by hash, without a path."""
    model = scenario.backbone.model_dump(mode="json", exclude={"path"})
    path = scenario.backbone.path
    return model if path is None else {**model, "sha256": sha256_file(path)}


def _next_run(folder: TrialFolder) -> str:
    return f"run-{1 + len(list((folder.operator / 'plans').glob('*.json')))}"


def _sign(folder: TrialFolder, silos: Sequence[str], scenario: Scenario, run: str) -> Path:
    """Write the plan as people do, and sign it as the operator."""
    ranking, federation = scenario.ranking, scenario.federation
    draft = {
        "run": run,
        "silos": list(silos),
        "use": "methods",
        "aim": "A trial on one machine.",
        "superlink": f"127.0.0.1:{free_port()}",
        "model": _model(scenario),
        "training": scenario.training.model_dump(mode="json"),
        "encoding": ranking.model_dump(mode="json", include={"views", "ensemble", "untouched_share"}),
        "seed": scenario.seed,
        "quorum": federation.quorum,
        "deadline_s": int(federation.deadline_s),
        "max_update_norm": federation.max_update_norm,
        "patient_cap": federation.patient_cap,
        "expires": (datetime.date.today() + datetime.timedelta(days=DAYS)).isoformat(),
    }
    path = folder.path / "plans" / f"{run}.yaml"
    write_text(path, yaml.safe_dump(draft, sort_keys=False))
    operator = ConsortiumFolder(folder.operator)
    plan = read_draft(operator, path)
    keys = operator.keys(find_secret(operator.about.key_file, whose="the offline keys"))
    with operator.locked():
        return sign(operator, plan, keys)


def _approve(workspace: Workspace, run: str, signed: Path) -> Path:
    PlanShelf(workspace).add(signed.read_bytes())
    with written_down(workspace, "plan.approve", run=run):
        return approve_plan(workspace, run, by=getpass.getuser())


def _facts(folder: TrialFolder, silos: Sequence[str], scenario: Scenario, led: LedRun) -> CardFacts:
    """What the model card tells: more than a coordinator knows, since a trial has all hospitals in one place."""
    trained = [patient for silo in silos for patient in _trained(folder, silo)]
    known = facts_of_rounds(led.path)
    data = "synthetic faces, drawn by a program" if isinstance(scenario.cohort, SyntheticCohort) else known.data
    return replace(known, data=data, aim=led.plan.stated_purpose, people=people_of(trained))


def _trained(folder: TrialFolder, silo: str) -> tuple[Patient, ...]:
    cohort = store.load(folder.workspace(silo) / "cohort").cohort
    allowed = cohort.for_purpose(Purpose.TRAIN, datetime.date.today()).patients
    return tuple(patient for patient in allowed if patient.syndrome is not None)
