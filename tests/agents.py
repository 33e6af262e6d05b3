"""Hospitals that rank: workspaces, a relay and agents on loopback, with patients whose crops are drawn here."""

from __future__ import annotations

import contextlib
import datetime
import io
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

import client.local.door
from client.agent import Agent
from client.clinic.ranking_list import RankingList, from_json
from client.relay.link import LinkLimits
from client.workspace.policy import load_policy
from client.workspace.workspace import Workspace
from common.cli import application
from common.cohort import store
from common.cohort.schema import Cohort, Consent, Patient, Photo, Purpose, Syndrome
from common.faces.decode import Pixels
from common.learning.assembly import ModelPool
from common.learning.plan import TrainingPlan
from common.models.specs import BackboneSpec
from common.ranking.kernel import Prototypes, patients_per_syndrome, weighted_rows
from common.ranking.patients import unit
from common.releases.bare import write_release
from common.releases.manifest import Encoding
from common.storage import sha256_bytes
from deploy.folder import ConsortiumFolder
from server.relay.running import running
from simulations.weights import THIN
from tests.consortium_folder import copy_consortium, done, kit_of, make_consortium

PATIENT = 30.0
DAY = datetime.date(2026, 6, 1)
ROWS = ("OMIM:122470", "OMIM:194050", "OMIM:180849", "OMIM:147920")
"""The registry's rows. The first two are known everywhere, the third to two patients, the last to one hospital."""

MATCHED = Consent(purposes=frozenset({Purpose.MATCH}))


def crop(seed: int, syndrome: str = "") -> Pixels:
    """A (112, 112, 3) picture of patches; those of one syndrome are alike."""
    patches = np.random.default_rng(seed).integers(0, 256, (7, 7, 3))
    if syndrome:
        kind = np.random.default_rng(sum(syndrome.encode())).integers(0, 256, (7, 7, 3))
        patches = (2 * kind + patches) // 3
    return np.kron(patches, np.ones((16, 16, 1), int)).astype(np.uint8)


def photo(seed: int, syndrome: str = "") -> bytes:
    """The same as a file."""
    buffer = io.BytesIO()
    Image.fromarray(crop(seed, syndrome)).save(buffer, "PNG")
    return buffer.getvalue()


def import_patients(
    folder: Path,
    of: dict[str, str],
    *,
    consent: Callable[[str], Consent] = lambda patient: MATCHED,
    known_as: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Store patients (id -> syndrome) in a workspace, in place of those before.

    ``known_as``: identifiers by syndrome, where these are labels of the hospital's own.
    """
    pictures = {patient: crop(int(sha256_bytes(patient.encode())[:8], 16), of[patient]) for patient in of}
    patients = [
        Patient(
            id=patient,
            photos=(
                Photo(id=f"{patient}-1", path=Path("x.png"), sha256=sha256_bytes(pictures[patient].tobytes())),
            ),
            syndrome=syndrome,
            consent=consent(patient),
        )
        for patient, syndrome in of.items()
    ]
    names = {key: (key,) if known_as is None else known_as.get(key, ()) for key in sorted(set(of.values()))}
    syndromes = tuple(Syndrome(key=key, name=key, identifiers=found) for key, found in names.items())
    cohort = Cohort(name="own", patients=tuple(patients), syndromes=syndromes)
    crops = {f"{patient}-1": pictures[patient] for patient in of}
    store.save(folder / "cohort", cohort, crops, replace=True)


def usual_patients(name: str, index: int) -> dict[str, str]:
    """Who is known at the hospital of that name, the ``index``-th."""
    found = {f"{name}-{number}": ROWS[0] for number in (1, 2)} | {f"{name}-3": ROWS[1]}
    if index < 2:
        found |= {f"{name}-4": ROWS[2]}
    if index == 1:
        found |= {f"{name}-{number}": ROWS[3] for number in (5, 6, 7, 8)}
    return found


def write_small_release(folder: Path, *, rounds: int = 1, ensemble: bool = False) -> None:
    """The shipped network untouched, one view a photo."""
    spec, plan = BackboneSpec(architecture="thin", path=THIN), TrainingPlan(trainable_fraction=0)
    initial = ModelPool().initial(spec, plan)
    parameters = {path: np.asarray(value + np.float32(1e-3 * (rounds - 1))) for path, value in initial.items()}
    encoding = Encoding(views=1, ensemble=ensemble)
    write_release(
        folder,
        parameters,
        scenario="test",
        seed=0,
        rounds=rounds,
        backbone=spec,
        training=plan,
        encoding=encoding,
    )


def set_policy(folder: Path, **changes: Any) -> None:
    """Change keys of a workspace's policy."""
    path = folder / "policy.yaml"
    backbone = {"architecture": "thin", "path": str(THIN)}
    model = {"release": "release", "backbone": backbone, "allow_unsigned": True}
    policy = {"model": model} | (yaml.safe_load(path.read_text()) or {})
    policy = {key: value for key, value in policy.items() if key != "model" or value} | {"model": model} | changes
    path.write_text(yaml.safe_dump(policy))
    load_policy(path)


def found_hospitals(folder: Path, names: Sequence[str]) -> Path:
    """A consortium of hospitals that have joined, imported their patients and adopted a release; nothing runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    workspaces, _ = make_consortium(folder, names, relay=f"127.0.0.1:{port}")
    for index, (name, workspace) in enumerate(workspaces.items()):
        import_patients(workspace, usual_patients(name, index))
        write_small_release(workspace / "release")
        set_policy(workspace)
    return folder


class Hospitals:
    """A consortium's relay and agents in this process; everything that was started is ended by ``close``.

    Args:
        made: what ``found_hospitals`` made.
        folder: a copy of it is made here where it is given, for tests that change files.
    """

    def __init__(self, made: Path, folder: Path | None = None) -> None:
        self.folder = made if folder is None else copy_consortium(made, folder)
        self.agents: dict[str, Agent] = {}
        self.today = DAY
        self._relay = contextlib.ExitStack()
        self.start_relay()

    @property
    def names(self) -> list[str]:
        """Everybody on the newest roster."""
        return [member.name for member in ConsortiumFolder(self.folder / "operator").roster().members]

    def start_relay(self) -> None:
        """Begin, or begin anew."""
        self.relay, self.roster = self._relay.enter_context(running(self.folder / "operator" / "relay"))

    def stop_relay(self) -> None:
        """End it, as a crash would."""
        self._relay.close()

    def start(self, *names: str, workers: int = 1) -> list[Agent]:
        """Start agents, all connected when this returns; epochs open only when ``open_epoch`` says so."""
        wanted = [name for name in names or self.names if name not in self.agents]
        made = [
            Agent(
                Workspace(self.folder / name),
                workers=workers,
                today=lambda: self.today,
                limits=LinkLimits(patience=1.0),
            )
            for name in wanted
        ]
        for name, agent in zip(wanted, made, strict=True):
            self.agents[name] = agent
            agent.start()
            agent.steward.close()
        for agent in self.agents.values():
            assert agent.link.wait_for(set(self.agents), seconds=PATIENT), agent.link.why_not
        return made

    def stop(self, *names: str) -> None:
        """End agents; the others know it when this returns."""
        for name in names:
            self.agents.pop(name).close()
        for agent in self.agents.values():
            wait_until(lambda link=agent.link: not set(names) & link.present())

    def restart(self, *names: str) -> None:
        """End agents and start them anew."""
        self.stop(*names)
        self.start(*names)

    def open_epoch(self, by: str | None = None) -> int:
        """Open a gallery epoch with everybody who is there; its number."""
        opened = self.ask(by or min(self.agents), "epoch")
        return int(opened["number"])

    def ask(self, name: str, operation: str, attachments: Sequence[bytes] = (), **values: Any) -> dict[str, Any]:
        """What an agent answers on its local socket."""
        return client.local.door.call(self.agents[name].workspace.socket_path, operation, values, attachments)

    def rank(self, name: str, content: bytes, *, reference: str = "patient 17", keep: bool = False) -> RankingList:
        """Rank one aligned photo at a hospital."""
        values = {"patients": [[reference, 1]], "top": 10, "keep": keep, "aligned": True}
        (ranked,) = self.ask(name, "rank", [content], **values)["lists"]
        return from_json(ranked)

    def operate(self, *arguments: object) -> None:
        """Run a command of the operator and bring the new kit to everybody who stays, and to the relay."""
        done("consortium", *arguments)
        for name in self.names:
            done("silo", "join", self.folder / name, kit_of(self.folder, "everybody"))
        self.roster.refresh()
        self.relay.recheck()

    def close(self) -> None:
        """End all agents and the relay."""
        for agent in self.agents.values():
            agent.close()
        self._relay.close()


def scores_in_clear(
    agents: Sequence[Agent], content: bytes, *, counted: Sequence[Agent] | None = None
) -> dict[str, float]:
    """The linear formula over some hospitals, by row of the registry; ``counted``: those that N_s goes over."""
    held = {agent.workspace.name: _prototypes(agent) for agent in {*agents, *(counted or agents)}}
    totals = patients_per_syndrome([held[agent.workspace.name] for agent in counted or agents])
    query = agents[0].encoder.portrait([content], aligned=True).embedding.astype(np.float64)
    sums = [weighted_rows(held[agent.workspace.name], syndromes=ROWS, totals=totals) @ query for agent in agents]
    return dict(zip(ROWS, np.sum(sums, axis=0).tolist(), strict=True))


def _prototypes(agent: Agent) -> Prototypes:
    stored = agent.stored()
    assert stored is not None
    patients = stored.cohort.for_purpose(Purpose.MATCH, DAY)
    found = agent.encoder.gallery(stored, patients)
    of = {patient.id: str(patient.syndrome) for patient in patients.patients}
    names = sorted(set(of.values()))
    groups = [[index for index, patient in enumerate(found.ids) if of[patient] == name] for name in names]
    rows = [unit(found.matrix[group].mean(axis=0, keepdims=True))[0] for group in groups]
    return Prototypes(tuple(names), np.stack(rows), np.array([len(group) for group in groups]))


def wait_until(condition: Callable[[], bool], seconds: float = PATIENT) -> None:
    """Look again and again until ``condition`` holds; fail if it never does."""
    limit = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        limit.wait(0.02)
    raise AssertionError("it never came to that")


def phenofed(*arguments: object, **environment: str) -> Result:
    """Run ``phenofed`` in this process."""
    runner = CliRunner(env={"COLUMNS": "220", **environment})
    return runner.invoke(application(), [str(argument) for argument in arguments])


@contextlib.contextmanager
def hospitals(made: Path, folder: Path | None = None, *, start: Sequence[str] = ()) -> Iterator[Hospitals]:
    """``Hospitals`` that are closed at the end, with agents of those in ``start``."""
    consortium = Hospitals(made, folder)
    try:
        if start:
            consortium.start(*start)
        yield consortium
    finally:
        consortium.close()
