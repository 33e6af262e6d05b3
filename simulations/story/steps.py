"""Steps that several chapters take: joining, opening an epoch, ranking, signing a plan."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Any

import yaml

from common.storage import sha256_file, write_text
from simulations.poc.founding import free_port
from simulations.scenario import GmdbCohort
from simulations.story import holding
from simulations.story.desks import NEW_PATIENTS
from simulations.story.stage import Stage
from simulations.story.story import DEADLINE, FIRST, KITS, LATE, OPERATOR, Story


def waits(stage: Stage, hospital: str, member: str) -> bool:
    """Whether a hospital's agent knows a member whom its people have not accepted yet."""
    return member in (stage.ask(hospital) or {}).get("not_accepted", ())


def request(stage: Stage, hospital: str) -> None:
    stage.phenofed(
        *("silo", "init", hospital, "--name", hospital, "--contact", f"genetics@{hospital}.example"),
        *("--key-file", f"keys/{hospital}.key"),
        lines=first(hospital),
    )


def first(hospital: str) -> int:
    """Lines of output to show: all for the first hospital and the late one, since the others' read the same."""
    return 8 if hospital in (FIRST[0], LATE) else 0


def join(story: Story, hospital: str) -> None:
    """Install the kit, write the policy, bring the patients in."""
    stage = story.stage
    stage.phenofed("silo", "join", hospital, KITS / f"{hospital}.zip", "--yes", lines=first(hospital))
    path = stage.folder / hospital / "policy.yaml"
    policy: dict[str, Any] = yaml.safe_load(path.read_text())
    backbone = story.scenario.backbone.model_dump(mode="json", exclude_none=True)
    policy["model"] = {"release": "release", "backbone": {**backbone, "path": str(story.backbone)}}
    policy["allow"]["train"] = True
    cohort = story.scenario.cohort
    if isinstance(cohort, GmdbCohort) and cohort.detector is not None:
        policy["detector"] = {"path": str(cohort.detector.resolve()), "sha256": cohort.detector_sha256}
    write_text(path, yaml.safe_dump(policy, sort_keys=False))
    if first(hospital):
        stage.tell("Its people name the network in policy.yaml, and allow training there.")
    stage.phenofed("silo", "import", hospital, f"desks/{hospital}", "--purposes", "none", lines=first(hospital))


def open_epoch(story: Story, hospitals: tuple[str, ...]) -> None:
    """Wait until everybody is connected, and open a gallery epoch with all of them."""
    stage = story.stage

    def connected() -> bool:
        states = [stage.ask(hospital) for hospital in hospitals]
        return all(state and set(hospitals) <= {state["name"], *state["present"]} for state in states)

    stage.until("all hospitals are connected", connected)
    stage.phenofed("silo", "epoch", hospitals[0])

    def opened() -> bool:
        epochs = [(stage.ask(hospital) or {}).get("epoch") for hospital in hospitals]
        return all(epoch and epoch["number"] > story.epoch for epoch in epochs)

    stage.until("the epoch is open everywhere", opened)
    story.epoch = max(stage.ask(hospital)["epoch"]["number"] for hospital in hospitals)  # type: ignore[index]


def rank(story: Story, hospital: str, *, lines: int = 24) -> dict[str, Any]:
    """One new patient, as a clinician asks, and once more as JSON."""
    photos = sorted((story.stage.folder / "desks/new-patients").glob(f"{story.asked}-*"))
    words = [
        *("rank", *(f"desks/new-patients/{photo.name}" for photo in photos)),
        *("--patient", "P-17", "--workspace", hospital),
        *(["--aligned"] if story.desks.aligned else []),
    ]
    if lines:
        story.stage.phenofed(*words, "--top", 5, lines=lines)
    answer: dict[str, Any] = json.loads(story.stage.phenofed(*words, "--top", 1000, "--json", lines=0))
    return answer


def rank_everybody(story: Story, hospital: str) -> tuple[int, int]:
    """(true syndrome first, true syndrome among ten) of all new patients."""
    began = time.monotonic()
    said = story.stage.phenofed(
        *("rank", "--batch", f"desks/{NEW_PATIENTS}", "--workspace", hospital, "--top", 1000, "--json"),
        *(["--aligned"] if story.desks.aligned else []),
        lines=0,
    )
    places: dict[str, int] = {}
    for answer in json.loads(said):
        keys = [row["key"] for row in answer["syndromes"]]
        truth = story.registry_key(story.desks.asked[answer["patient"]])
        places[answer["patient"]] = keys.index(truth) + 1 if truth in keys else 10_000
    if places[story.asked] == 10_000:
        story.asked = min(places, key=lambda reference: places[reference])
    hits = (sum(place <= 1 for place in places.values()), sum(place <= 10 for place in places.values()))
    story.stage.tell(
        f"{len(places)} new patients in {time.monotonic() - began:.1f} s: the true syndrome is first for "
        f"{hits[0]}, among the first ten for {hits[1]}."
    )
    return hits


def approvals(hospitals: tuple[str, ...], run: str) -> list[str | Path]:
    return [word for silo in hospitals for word in ("--approval", Path(silo, "plans", f"{run}.approval.json"))]


def sign_plan(story: Story, run: str, hospitals: tuple[str, ...], rounds: int, *, parent: bool = False) -> Path:
    """Write the plan as people do, and sign it with the offline key."""
    scenario = story.scenario
    training = scenario.training.model_dump(mode="json")
    ranking = scenario.ranking.model_dump(mode="json", include={"views", "ensemble", "untouched_share"})
    draft: dict[str, Any] = {
        "run": run,
        "silos": list(hospitals),
        "use": "methods",
        "aim": "The story of a consortium, told on one machine.",
        "superlink": f"127.0.0.1:{free_port()}",
        "model": scenario.backbone.model_dump(mode="json", exclude={"path"})
        | {"sha256": sha256_file(story.backbone)},
        "training": training
        | {"rounds": rounds, "warmup_rounds": min(scenario.training.warmup_rounds, rounds - 1)},
        "encoding": ranking,
        "deadline_s": int(DEADLINE),
        "seed": scenario.seed,
        "expires": (datetime.date.today() + datetime.timedelta(days=30)).isoformat(),
    }
    if parent:
        held = holding.release(story.stage.folder / FIRST[0])
        draft |= {"parent": held.name, "parent_digest": held.digest}
    write_text(story.stage.folder / f"{run}.yaml", yaml.safe_dump(draft, sort_keys=False))
    story.stage.phenofed("consortium", "plan", OPERATOR, f"{run}.yaml")
    return OPERATOR / "plans" / f"{run}.json"
