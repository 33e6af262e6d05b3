"""A hospital's ranking service over random patients, as a process: what an agent runs, without photos.

    python -m simulations.benchmarks.silo_process WORKSPACE DIMENSION PATIENTS

Reads requests from standard input and answers on standard output, a line of JSON each.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from client.gallery.keeper import GalleryKeeper
from client.ledger.ledger import Ledger
from client.ranking.answering import Answering
from client.ranking.gallery_epochs import GalleryEpochs
from client.ranking.proposing import Proposer
from client.ranking.querier import ConsortiumQuerier
from client.ranking.query_keys import QueryKeys
from client.ranking.standing import Matchable, Standing
from client.relay.link import RelayLink
from client.workspace.workspace import Workspace
from common.encryption.silo_session import SiloSession
from common.encryption.worker import Worker
from common.encryption.worker_pool import WorkerPool
from common.privacy.disclosure import STANDARD
from common.ranking.patients import Embeddings, Floats, unit

RELEASE = "00" * 32


class BenchedSilo:
    """One hospital.

    Args:
        patients: of each syndrome at this hospital.
    """

    def __init__(self, folder: Path, dimension: int, patients: int) -> None:
        self._open = ExitStack()
        workspace = Workspace(folder)
        self._random = np.random.default_rng(int.from_bytes(workspace.name.encode(), "big"))
        roster, registry = workspace.roster(), workspace.registry()
        self.standing = Standing(roster, registry, RELEASE, STANDARD, "linear", dimension)
        member, ledger = workspace.member(), Ledger(workspace.ledger_path)
        self._open.callback(ledger.close)
        self.workers = self._open.enter_context(WorkerPool("silo", count=2))
        sessions = SiloSession(member, self.workers)
        self.patients = self._drawn(len(registry.entries), patients)
        self.epochs = GalleryEpochs(
            workspace.gallery_folder,
            member,
            ledger=ledger,
            keeper=GalleryKeeper(workspace.gallery_folder),
            sessions=sessions,
            standing=lambda: self.standing,
            patients=lambda: self.patients,
        )
        self.proposer = Proposer(workspace.name, self.epochs, standing=lambda: self.standing, ask=self._ask)
        worker = self._open.enter_context(Worker("querier"))
        keys = QueryKeys(workspace.folder / "keys", member, workspace.wrap_key("query keys"), worker)
        self.querier = ConsortiumQuerier(
            member, keys=keys, epochs=self.epochs, ledger=ledger, standing=lambda: self.standing, ask=self._ask
        )
        answering = Answering(
            workspace.name,
            workspace.folder / "peers",
            ledger=ledger,
            sessions=sessions,
            epochs=self.epochs,
            standing=lambda: self.standing,
            rank_allowed=lambda: True,
        )
        self.link = RelayLink(roster.relay, workspace.tls, workspace.name, answering.handle)
        self._open.callback(self.link.close)
        self.link.start()

    def do(self, request: dict[str, Any]) -> Any:
        """Answer one request: ``open`` an epoch, or ``rank`` so many ``times``, seconds each."""
        others = {member.name for member in self.standing.roster.members}
        if not self.link.wait_for(others, seconds=60.0):
            return None
        if request["do"] == "open":
            return self.proposer.propose(others).epoch.number
        seconds = []
        for query in self._vectors(request["times"]):
            started = time.perf_counter()
            answer = self.querier.rank(query[None])
            order = np.argsort(-answer.scores[0])
            seconds.append(time.perf_counter() - started)
            if answer.missing or np.isnan(answer.scores[0, order[0]]):
                return None
        return seconds

    def close(self) -> None:
        """End workers and link."""
        self._open.close()

    def _ask(self, silo: str, topic: str, body: bytes, seconds: float) -> bytes:
        return self.link.request(silo, topic, body, deadline=seconds)

    def _drawn(self, rows: int, patients: int) -> Matchable:
        ids = tuple(f"{row}-{number}" for row in range(rows) for number in range(patients))
        places = {patient: int(patient.split("-")[0]) for patient in ids}
        return Matchable(Embeddings(ids, self._vectors(len(ids))), places, frozenset())

    def _vectors(self, count: int) -> Floats:
        return unit(self._random.standard_normal((count, self.standing.dimension))).astype(np.float32)


def main() -> None:
    """Serve until standard input ends."""
    folder, dimension, patients = sys.argv[1:]
    silo = BenchedSilo(Path(folder), int(dimension), int(patients))
    try:
        for line in sys.stdin:
            print(json.dumps(silo.do(json.loads(line))), flush=True)
    finally:
        silo.close()


if __name__ == "__main__":
    main()
