"""``phenofed poc``: a whole consortium of separate processes on this machine, out of an empty folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulations.chaos.cli import chaos

if TYPE_CHECKING:
    from simulations.poc.folder import TrialFolder

_HELP = """Try a whole consortium on this machine: a relay and hospitals, as processes of their own, over loopback.

Everything is real but the patients: keys, certificates, roster, encryption, budgets. phenofed rank, phenofed silo
and phenofed consortium work on what lies in the folder. Do not keep real patients in it: one machine then holds
the keys of all hospitals.

Example: phenofed poc up trial"""
_EPILOG = (
    "Exit codes: 0 done, 2 wrong usage, 3 settings, 4 cohort, 6 weights, 8 keys, 9 not ready or no trial, "
    "12 agent, 130 interrupted."
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The trial's folder.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the scenario, such as seed=1."),
]
Seconds = Annotated[float, typer.Option(min=1, help="Give up waiting after so many seconds.")]


def register(app: typer.Typer) -> None:
    """Add ``poc`` and its commands to the application."""
    poc = typer.Typer(help=_HELP, no_args_is_help=True, epilog=_EPILOG)
    for command in (up, status, run, down, story, chaos):
        poc.command(epilog=_EPILOG)(command)
    app.add_typer(poc, name="poc")


def up(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An empty or new folder, or that of a trial.")],
    silos: Annotated[
        int | None, typer.Option(min=4, max=32, show_default="4", help="How many hospitals, in a new trial.")
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(show_default="demo", help="Whose patients, in a new trial: smoke, demo or a scenario file."),
    ] = None,
    overrides: Overrides = None,
    wait: Annotated[bool, typer.Option(help="Wait until the hospitals can rank.")] = True,
    seconds: Seconds = 180.0,
) -> None:
    """Found a consortium and start it, or start one again that was ended.

    The processes go on when this command is done, until phenofed poc down. What has ended is started again;
    patients, keys, budgets and galleries stay as they were. Ctrl-C before it is ready ends what it has started.

    Example: phenofed poc up trial --silos 5 --scenario smoke
    """
    from common.consortium.console import say
    from common.errors import RunError
    from simulations.poc.folder import TrialFolder
    from simulations.poc.running import started, wait_until_ranking

    place = TrialFolder(folder)
    with place.locked():
        if not place.founded:
            _found(place, scenario or "demo", overrides or [], silos or 4)
        elif scenario or overrides or silos:
            remedy = "leave --silos, --scenario and --set out, or name a new folder"
            raise RunError(f"{folder} holds a trial already", remedy=remedy)
        names = place.about().silos
        with started(place, names) as fresh:
            if wait:
                wait_until_ranking(place, names, seconds=seconds)
    if not fresh:
        say(f"the consortium in {folder} is up already")
    elif wait:
        say(f"the consortium in {folder} is up: {len(names)} hospitals can rank")
    else:
        say(f"started {', '.join(process.name for process in fresh)}; see phenofed poc status {folder}")
    _show(place, names)
    _say_next(folder, place, names)


def status(folder: Folder) -> None:
    """Show which processes run, whether hospitals are connected, and which gallery epoch is open."""
    from common.consortium.console import show_table
    from simulations.poc import processes, running
    from simulations.poc.folder import TrialFolder

    place = TrialFolder(folder)
    known = {process.name: process for process in processes.read(place.processes)}
    rows = []
    for name in (running.RELAY, *place.about().silos):
        process = known.get(name)
        state = "not started" if process is None else f"pid {process.pid}" if process.runs else "ended"
        said = running.status(place, name) if name != running.RELAY else None
        connected = "" if said is None else "yes" if said["connected"] else "no"
        epoch = said["epoch"] if said else None
        rows.append((name, state, connected, str(epoch["number"]) if epoch else ""))
    show_table(f"trial in {folder}", ("process", "state", "connected", "gallery epoch"), rows)


def run(
    folder: Folder,
    scenario: Annotated[
        str | None,
        typer.Argument(
            metavar="SCENARIO", help="How to train: a scenario of the same network; default: the trial's."
        ),
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, show_default="the scenario's", help="Rounds.")] = None,
    overrides: Overrides = None,
    seconds: Seconds = 180.0,
) -> None:
    """Train for real: a signed plan that every hospital approves, rounds under Flower, a signed release.

    Then every hospital adopts the release, agents start anew with it, and a new gallery epoch opens. What it
    changed is shown on patients whom no gallery holds, by the formula in clear, which no real consortium could do.
    A run that was interrupted goes on with phenofed coordinator resume FOLDER/operator/relay/runs/RUN.

    Example: phenofed poc run trial --rounds 3
    """
    from common.consortium.console import say, show_table
    from common.errors import RunError
    from simulations.poc.folder import TrialFolder
    from simulations.poc.held_out import quality
    from simulations.poc.patients import settings_for
    from simulations.poc.running import epoch_of, started, stop_agents, wait_until_ranking
    from simulations.poc.training import train

    place = TrialFolder(folder)
    about = place.about()
    wanted = [*(overrides or []), *([f"training.rounds={rounds}"] if rounds else [])]
    settings = settings_for(about.scenario, scenario, wanted)
    with place.locked():
        opened = [epoch_of(place, silo) for silo in about.silos]
        if None in opened:
            raise RunError(f"not every hospital in {folder} is up", remedy=f"run phenofed poc up {folder}")
        before = quality(place, about.silos)
        train(place, about.silos, settings, say)
        stop_agents(place)
        with started(place, about.silos):
            wait_until_ranking(place, about.silos, seconds=seconds, after=max(number or 0 for number in opened))
        after = quality(place, about.silos)
    rows = [(one.release, f"{100 * one.top1:.1f} %", f"{100 * one.top5:.1f} %") for one in (before, after)]
    show_table("held-out patients, in clear", ("release", "top-1", "top-5"), rows)
    say(f"means over {after.syndromes} syndromes of {after.patients} patients whom no gallery holds")
    say(f"gallery epoch {epoch_of(place, about.silos[0])} is open under {after.release}")


def down(folder: Folder) -> None:
    """End the processes of a trial, and nothing else. The folder stays; phenofed poc up starts it again."""
    from common.consortium.console import say
    from simulations.poc.folder import TrialFolder
    from simulations.poc.running import stop

    place = TrialFolder(folder)
    place.about()
    with place.locked():
        ended, gone = stop(place)
    say(f"ended {', '.join(ended)}" if ended else "nothing runs")
    if gone:
        say(f"had ended before: {', '.join(gone)}")


def story(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="Whose patients and which network: demo or a scenario file.")
    ] = "demo",
    rounds: Annotated[
        int, typer.Option(min=5, help="Rounds of the first run: faults take some, the more the faster they are.")
    ] = 10,
    overrides: Overrides = None,
) -> None:
    """Play a consortium's whole story by the commands of its people, and write it down as FOLDER/story.md.

    Four hospitals are founded, rank, train while a hospital and the coordinator are killed, and adopt the release;
    a fifth joins late; a patient withdraws. What must hold after each step is checked: exit code 9 if it does not.
    Photos of the scenario are copied into FOLDER, which also holds everybody's keys.

    Example: phenofed poc story runs/story
    """
    from common.consortium.console import say
    from common.errors import ConfigError, RunError
    from simulations.poc.patients import scenario_for
    from simulations.scenario import SyntheticCohort, load_scenario
    from simulations.story.story import HOSPITALS
    from simulations.story.telling import tell

    chosen = load_scenario(scenario, overrides=overrides or [])
    if isinstance(chosen.cohort, SyntheticCohort):
        chosen = scenario_for(scenario, overrides or [], len(HOSPITALS))
    if chosen.backbone.path is None:
        raise ConfigError("the scenario names no network's file", remedy="set backbone.path")
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty", remedy="name a new folder")
    checked = tell(chosen, folder, rounds=rounds, say=say)
    say(f"{len(checked)} things were checked; the story is {folder / 'story.md'}")


def _found(place: TrialFolder, scenario: str, overrides: list[str], silos: int) -> None:
    from tempfile import TemporaryDirectory

    from rich.console import Console

    from server.releases.pretrained import UNTOUCHED
    from simulations.console import Bars
    from simulations.poc.folder import About
    from simulations.poc.founding import found
    from simulations.poc.patients import deal, scenario_for
    from simulations.poc.releasing import adopt_everywhere, release, untouched

    chosen = scenario_for(scenario, overrides, silos)
    with (
        place.filled_or_left_empty(),
        Bars(Console(stderr=True)) as bars,
        TemporaryDirectory(prefix="phenofed-") as work,
    ):
        patients = deal(chosen, work=Path(work) / "run", out=place.path, progress=bars)
        with bars.stage("founding the consortium", 1) as advance:
            found(place, chosen, patients)
            adopt_everywhere(place, patients.of, release(place, untouched(chosen), UNTOUCHED))
            advance(1)
        place.remember(About(scenario=chosen, silos=tuple(patients.of)))


def _show(place: TrialFolder, silos: tuple[str, ...]) -> None:
    from client.workspace.workspace import Workspace
    from common.cohort import store
    from common.consortium.console import show_table
    from common.consortium.words import fingerprint_words

    rows = []
    for silo in silos:
        workspace = Workspace(place.workspace(silo))
        patients = store.load(workspace.cohort_folder).cohort.patients
        unsolved = sum(patient.syndrome is None for patient in patients)
        words = fingerprint_words(workspace.roster().member(silo).card.fingerprint)
        rows.append((silo, str(len(patients) - unsolved), str(unsolved), words))
    show_table("hospitals", ("silo", "patients", "unsolved", "words"), rows)


def _say_next(folder: Path, place: TrialFolder, silos: tuple[str, ...]) -> None:
    from common.cohort import store
    from common.consortium.console import say

    workspace, known = folder / silos[0], store.load(place.workspace(silos[0]) / "cohort").cohort.patients
    probes = sorted(path.name for path in place.probes.glob("*.png"))
    say("try:")
    if probes:
        say(f"  phenofed rank {folder / 'probes' / probes[0]} --aligned --patient new --workspace {workspace}")
    say(f"  phenofed silo status {workspace}")
    say(f"  phenofed silo budget {workspace}")
    if any(patient.syndrome is None for patient in known):
        say(f"  phenofed silo discover {workspace} ask {silos[1]}")
    say(f"  phenofed silo consent withdraw {workspace} {known[0].id}")
    say(f"  phenofed poc down {folder}")
    if probes:
        say(f"in {folder / 'probes'} lie photos of patients whom no gallery holds, named by their true syndrome")
