"""Two hospitals at one desk: what the tests of discovery ask and answer with."""

from __future__ import annotations

import contextlib
import datetime
import secrets

import numpy as np

from client.discovery.asker import DiscoveryAsker
from client.discovery.pseudonyms import Pseudonyms
from client.discovery.responder import DiscoveryResponder
from client.discovery.rows import DiscoveryRows
from client.discovery.unsolved import Unsolved
from client.ledger.ledger import Ledger
from common.cohort.schema import Cohort, Consent, Patient, Purpose
from common.consortium.identity import Member
from common.encryption.gram_session import GramAsker, GramResponder
from common.ranking.patients import Embeddings
from tests.encryption_panel import unit

A, B = Member("hospital-a"), Member("hospital-b")
RELEASE, WRAP = secrets.token_bytes(32), secrets.token_bytes(32)
DIMENSION = 16
TODAY = datetime.date(2026, 1, 5)
AGREED = Consent(purposes=frozenset({Purpose.DISCOVER}))


def cohort(*patients):
    return Cohort(name="cohort", patients=patients, syndromes=())


def unsolved(prefix, matrix):
    ids = tuple(f"{prefix}{number}" for number in range(len(matrix)))
    patients = [Patient(id=name, photos=(), consent=AGREED) for name in ids]
    return Unsolved(cohort(*patients), Embeddings(ids, matrix), on=TODAY)


def two_hospitals():
    """Two hospitals' patients; here-1 and there-3 look alike, here-0 and there-2 a little."""
    generator = np.random.default_rng(0)
    here, there = unit(generator, 3, DIMENSION), unit(generator, 5, DIMENSION)
    there -= there @ here.T @ np.linalg.pinv(here.T)
    there[3] += 9 * here[1]
    there[2] /= np.linalg.norm(there[2])
    there[2] += 0.65 * here[0]
    there /= np.linalg.norm(there, axis=1, keepdims=True)
    return unsolved("here-", here), unsolved("there-", there.astype(np.float32))


class Desk:
    """Both hospitals, in one folder; made anew over the same folder, it is both of them after a restart."""

    def __init__(self, folder, workers, *, threshold=0.5, theirs=0.5, allowed=True, new=True, rows_a_year=16):
        self.ledgers = [Ledger(folder / f"{name}.db", today=lambda: TODAY, new=new) for name in "ab"]
        self.rows = [DiscoveryRows(ledger, rows_a_year) for ledger in self.ledgers]
        self.names = [Pseudonyms(folder / f"{name}-names.json") for name in "ab"]
        self.asking = GramAsker(A, B.card, release=RELEASE, worker=workers[0], wrap=WRAP)
        self.asker = DiscoveryAsker(
            self.asking, B.card, threshold=threshold, pseudonyms=self.names[0], budget=self.rows[0]
        )
        self.responder = DiscoveryResponder(
            GramResponder(B, A.card, release=RELEASE, worker=workers[1]),
            A.card,
            allowed=allowed,
            threshold=theirs,
            pseudonyms=self.names[1],
            answers=self.rows[1].answers(A.card),
        )

    def close(self):
        for ledger in self.ledgers:
            ledger.close()


@contextlib.contextmanager
def desks(folder, workers):
    """Makes a desk at each call, after closing the one before."""
    made = []

    def make(**options):
        for desk in made:
            desk.close()
        made.append(Desk(folder, workers, new=not made, **options))
        return made[-1]

    yield make
    if made:
        made[-1].close()
