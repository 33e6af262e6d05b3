"""The story: four hospitals, an operator, a coordinator, a fifth hospital, and what happens to them.

Every step is a command that its people type; what must hold after it is looked at and noted. Read from top to
bottom: each function is a chapter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from client.plans.deciding import NODE
from client.training.node import end_left
from common.models.specs import PRESETS, Normalisation
from common.storage import sha256_file, write_text
from simulations.poc.founding import free_port
from simulations.scenario import Scenario
from simulations.story import holding
from simulations.story.desks import lay_out
from simulations.story.round_log import RoundLog
from simulations.story.stage import Stage
from simulations.story.steps import (
    approvals,
    first,
    join,
    open_epoch,
    rank,
    rank_everybody,
    request,
    sign_plan,
    waits,
)
from simulations.story.story import DEADLINE, FIRST, HOSPITALS, LATE, MOST_ASKED, OPERATOR, RELAY, RELEASES, Story


def tell(scenario: Scenario, folder: Path, *, rounds: int, say: Callable[[str], None]) -> list[str]:
    """Play the whole story in an empty folder; gives what was seen to hold.

    Raises:
        RunError: something does not hold, or a command failed.
        PhenofedError: the scenario's cohort or network cannot be used.
    """
    with Stage(folder, say) as stage:
        write_text(stage.folder / "logs" / "README", "What the story's processes wrote.\n")
        desks = lay_out(scenario, stage.folder / "desks", HOSPITALS, most_asked=MOST_ASKED)
        story = Story(stage, scenario, desks, rounds)
        for chapter in (
            found_the_consortium,
            join_four_hospitals,
            begin_with_the_pretrained_network,
            train_through_faults,
            release_and_adopt,
            let_a_fifth_hospital_in,
            withdraw_a_patient,
            train_again,
            look_back,
        ):
            chapter(story)
        return stage.checked


def found_the_consortium(story: Story) -> None:
    """The operator, on a machine that is offline."""
    stage = story.stage
    stage.chapter("The operator founds a consortium")
    stage.tell("The folder `operator` never leaves the operator's own machine, save for `operator/relay`.")
    address = f"127.0.0.1:{free_port()}"
    stage.phenofed(
        *("consortium", "init", OPERATOR, "--name", "story", "--relay", address),
        *("--key-file", "keys/operator.key"),
    )
    lines = ["key,name,identifiers,genes,group,was"]
    for syndrome in story.desks.syndromes:
        own, *others = syndrome.identifiers or (syndrome.key,)
        name = syndrome.name.replace('"', "")
        lines.append(f'{own},"{name}",{";".join(others)},,,')
    write_text(stage.folder / "syndromes.csv", "\n".join(lines) + "\n")
    stage.phenofed("consortium", "registry", OPERATOR, "--from", "syndromes.csv", lines=4)
    stage.tell("Who publishes releases has a key of their own, which the roster names.")
    stage.phenofed("release", "key", RELEASES, "--key-file", "keys/releases.key")
    stage.phenofed("consortium", "release-key", OPERATOR, RELEASES / "release.pub", "--yes")
    stage.start("relay", "coordinator", "up", RELAY)


def join_four_hospitals(story: Story) -> None:
    """Keys are made in each hospital; the operator's answer holds none."""
    stage = story.stage
    stage.chapter("Four hospitals join")
    for hospital in FIRST:
        request(stage, hospital)
        stage.phenofed("consortium", "add", OPERATOR, f"{hospital}/request.json", "--yes", lines=first(hospital))
    stage.tell("Asked again once all are on the roster, a kit brings everybody; its members are accepted with it.")
    for hospital in FIRST:
        stage.phenofed("consortium", "add", OPERATOR, f"{hospital}/request.json", "--yes", lines=0)
        join(story, hospital)
    hospital, label, key = story.desks.own_label
    stage.tell(f"{hospital} has a name of its own for a syndrome, which no other hospital knows.")
    shown = stage.phenofed("silo", "labels", hospital, lines=7)
    stage.check(f"{hospital} is told that a label of its own is in no gallery yet", label in shown)
    stage.phenofed("silo", "labels", hospital, "--map", f"{label}={story.registry_key(key)}", lines=0)


def begin_with_the_pretrained_network(story: Story) -> None:
    """Ranking needs no training: the network as it came is the first release."""
    stage = story.stage
    stage.chapter("Ranking begins before any training")
    backbone = story.scenario.backbone
    options = ["--normalisation", _normalisation(story)] if backbone.normalisation else []
    stage.phenofed(
        *("release", "pretrained", RELEASES, "--backbone", story.backbone),
        *("--architecture", backbone.architecture, "--sha256", sha256_file(story.backbone), *options),
    )
    stage.phenofed("release", "promote", RELEASES, 1)
    stage.phenofed("release", "export", RELEASES, "first.zip")
    for hospital in FIRST:
        stage.phenofed("silo", "adopt", hospital, "first.zip", lines=2)
        stage.start(hospital, "silo", "up", Path(hospital))
    open_epoch(story, FIRST)
    story.hits["the pretrained network"] = rank_everybody(story, FIRST[0])
    rank(story, FIRST[0])


def train_through_faults(story: Story) -> None:
    """A hospital and the coordinator are killed; a patient is ranked meanwhile."""
    stage = story.stage
    stage.chapter("Training, through faults")
    plan = sign_plan(story, "spring", FIRST, story.rounds)
    stage.tell("People at each hospital look at the plan and approve it; the approvals go back to the operator.")
    stage.phenofed("silo", "plans", "add", FIRST[0], plan, lines=2)
    stage.phenofed("silo", "plans", "show", FIRST[0], "spring", lines=14)
    stage.phenofed("silo", "plans", "approve", FIRST[0], "spring")
    for hospital in FIRST[1:]:
        stage.phenofed("silo", "plans", "add", hospital, plan, lines=0)
        stage.phenofed("silo", "plans", "approve", hospital, "spring", lines=0)
    words = ("coordinator", "train", RELAY, plan, *approvals(FIRST, "spring"), "--backbone", story.backbone)
    stage.start("coordinator", *words)
    told = RoundLog(stage, "coordinator")
    stage.until("the first round is done", lambda: told.done >= 1, DEADLINE)

    stage.tell("While the second round trains, a clinician at the first hospital ranks a new patient.")
    rank(story, FIRST[0])
    stage.check("a patient was ranked over all hospitals while a round was training", told.done < story.rounds)

    before = told.done
    stage.tell(
        "The third hospital's machine loses power in the middle of a round: agent and Flower node are gone."
    )
    stage.kill(FIRST[2])
    end_left(stage.folder / FIRST[2] / NODE)
    stage.until("a round goes on without it", lambda: told.without(FIRST[2]) > 0, DEADLINE)
    stage.tell(f"`{told.line_without(FIRST[2])}`")
    stage.check("the round went on with the others, and says who is missing and why", told.done > before)
    stage.start(FIRST[2], "silo", "up", Path(FIRST[2]))
    stage.until("it is back", lambda: told.last_counts(len(FIRST)), DEADLINE)
    stage.check("the hospital that came back trains again, without anybody's help", told.last_counts(len(FIRST)))

    stage.tell("Then the coordinator's machine goes.")
    done = told.done
    stage.check("rounds are left to do", done < story.rounds)
    stage.kill("coordinator")
    stage.phenofed("coordinator", "status", RELAY, lines=20)
    stage.start("resumed", "coordinator", "resume", Path(RELAY, "runs/spring"))
    stage.wait("resumed", DEADLINE * story.rounds)
    rest = RoundLog(stage, "resumed")
    stage.tell("\n".join(("```", *stage.log("resumed").read_text().strip().splitlines(), "```")))
    stage.check(
        f"the run went on after round {done} and came to its end",
        # The round that was under way may have ended before the coordinator did.
        rest.numbers in ([*range(first, story.rounds + 1)] for first in (done + 1, done + 2)) and rest.done > 0,
    )


def release_and_adopt(story: Story) -> None:
    """The model is signed, with a card; hospitals verify it before they load it."""
    stage = story.stage
    stage.chapter("A release")
    stage.phenofed("release", "publish", RELEASES, RELAY / "runs/spring")
    stage.phenofed("release", "show", RELEASES, 2, lines=70)
    stage.phenofed("release", "promote", RELEASES, 2)
    stage.phenofed("release", "export", RELEASES, "spring.zip")
    for hospital in FIRST:
        stage.phenofed("silo", "adopt", hospital, "spring.zip", lines=1)
        stage.stop(hospital)
        stage.start(hospital, "silo", "up", Path(hospital))
    open_epoch(story, FIRST)
    story.hits["the first trained release"] = rank_everybody(story, FIRST[0])
    rank(story, FIRST[0])


def let_a_fifth_hospital_in(story: Story) -> None:
    """Nobody's certificate changes, and each hospital decides for itself."""
    stage = story.stage
    stage.chapter("A fifth hospital joins late")
    certificates = {hospital: holding.certificate(stage.folder / hospital) for hospital in FIRST}
    request(stage, LATE)
    stage.phenofed("consortium", "add", OPERATOR, f"{LATE}/request.json", "--yes", lines=2)
    join(story, LATE)
    stage.tell("It adopts the newest release, and has never trained.")
    stage.phenofed("silo", "adopt", LATE, "spring.zip", lines=2)
    stage.start(LATE, "silo", "up", Path(LATE))
    stage.tell("The relay hands the new roster to the agents that run: they verify it, and nobody carries a file.")
    stage.until("everybody has the new roster", lambda: all(waits(stage, hospital, LATE) for hospital in FIRST))
    stage.phenofed("silo", "members", "list", FIRST[0], lines=20)
    for hospital in FIRST:
        stage.phenofed("silo", "members", "accept", hospital, LATE, "--yes", lines=1)
    open_epoch(story, HOSPITALS)
    unchanged = all(holding.certificate(stage.folder / name) == old for name, old in certificates.items())
    stage.check("nobody else's certificate changed", unchanged)
    answer = rank(story, LATE)
    stage.check(
        "the fifth hospital ranks over the other four at once, without having trained",
        set(answer["silos"]) == set(FIRST) and answer["release"].startswith("spring-"),
    )
    stage.tell(
        "Its own patients wait: sums with it and without it, under one release, would differ by its patients "
        "alone. They come in with the next release, or with more newcomers."
    )
    stage.phenofed("silo", "status", LATE, lines=20)


def withdraw_a_patient(story: Story) -> None:
    """What the patient takes back stops at once; later rounds are without them."""
    stage = story.stage
    stage.chapter("A patient withdraws")
    before = rank(story, FIRST[0], lines=0)
    key = story.registry_key(story.desks.asked[story.asked])
    hospital, patient = holding.somebody_with(stage.folder / "desks", HOSPITALS, story.desks.asked[story.asked])
    photos = holding.crops_of(stage.folder / hospital, patient)
    stage.phenofed("silo", "consent", "withdraw", hospital, patient)
    gone = not holding.crops_of(stage.folder / hospital, patient)
    stage.check(f"{len(photos)} crops of the patient were there, and are gone", bool(photos) and gone)
    after = rank(story, FIRST[0])
    keys = [[row["key"] for row in answer["syndromes"]] for answer in (before, after)]
    stage.check(
        "the patient's own syndrome answered before, and answers no more until the next gallery epoch",
        key in keys[0] and key not in keys[1],
    )
    story.left = (hospital, patient)
    story.trained_before = holding.trained_patients(stage.folder / hospital, "spring")


def train_again(story: Story) -> None:
    """It begins from the release, is without the one who left, and asks nothing of a hospital it does not name."""
    stage = story.stage
    stage.chapter("A second run, and a release with five hospitals in it")
    stage.tell(
        f"It begins from the release and names four hospitals. {LATE} is a member, and is asked for nothing."
    )
    plan = sign_plan(story, "summer", FIRST, 1, parent=True)
    for silo in FIRST:
        stage.phenofed("silo", "plans", "add", silo, plan, lines=0)
        stage.phenofed("silo", "plans", "approve", silo, "summer", lines=0)
    stage.phenofed("silo", "plans", "add", LATE, plan, refused=True)
    words = ("coordinator", "train", RELAY, plan, *approvals(FIRST, "summer"), "--backbone", story.backbone)
    stage.start("summer", *words, "--parent", Path("spring.zip"))
    stage.wait("summer", 2 * DEADLINE)
    stage.check("four hospitals trained a round together", RoundLog(stage, "summer").last_counts(len(FIRST)))
    stage.check(f"{LATE} has trained nothing", not holding.rounds_trained(stage.folder / LATE))
    hospital, patient = story.left
    later = holding.trained_patients(stage.folder / hospital, "summer")
    left = 1 if holding.could_train(stage.folder / "desks" / hospital, patient) else 0
    stage.check(
        f"{hospital} trained with {story.trained_before} patients before the withdrawal and with {later} after it",
        story.trained_before - later == left,
    )
    stage.phenofed("release", "publish", RELEASES, RELAY / "runs/summer", lines=1)
    stage.phenofed("release", "promote", RELEASES, 3, lines=1)
    stage.phenofed("release", "export", RELEASES, "summer.zip", lines=1)
    for silo in HOSPITALS:
        stage.phenofed("silo", "adopt", silo, "summer.zip", lines=first(silo))
        stage.stop(silo)
        stage.start(silo, "silo", "up", Path(silo))
    open_epoch(story, HOSPITALS)
    answer = rank(story, LATE)
    stage.check(
        "the fifth hospital's patients are in the scores, and it has never trained",
        set(answer["silos"]) == set(HOSPITALS),
    )
    story.hits["the second trained release, five hospitals"] = rank_everybody(story, LATE)


def look_back(story: Story) -> None:
    """Everybody can show what happened, and nothing of a patient went where it must not."""
    stage = story.stage
    stage.chapter("Looking back")
    for hospital in HOSPITALS:
        stage.phenofed("silo", "audit", "verify", hospital, lines=3)
    stage.phenofed("silo", "audit", "show", FIRST[1], lines=30)
    stage.phenofed("release", "verify", RELEASES)
    stage.phenofed("release", "list", RELEASES, lines=12)
    names = holding.names_of_patients(stage.folder / "desks")
    places = [stage.folder / name for name in ("logs", "operator", "releases")]
    found = holding.files_that_name(names, places)
    stage.check(f"none of {len(names)} patients is named outside the hospitals", not found)
    pixels = holding.files_with_crops([stage.folder / name for name in HOSPITALS], places)
    stage.check("no crop lies in what operator, coordinator or relay hold", not pixels)
    rows = [
        f"| {when} | {of} | {100 * first / of:.0f} % | {100 * ten / of:.0f} % |"
        for when, (first, ten, of) in (
            (when, (*hits, len(story.desks.asked))) for when, hits in story.hits.items()
        )
    ]
    stage.tell(
        "New patients ranked under encryption, by patients and not by syndromes; a syndrome that is not answered "
        "counts as missed:\n\n| with | patients | top-1 | top-10 |\n|---|---|---|---|\n" + "\n".join(rows)
    )


def _normalisation(story: Story) -> str:
    wanted = story.scenario.backbone.normalisation
    return next(name for name, values in PRESETS.items() if Normalisation(**values) == wanted)
