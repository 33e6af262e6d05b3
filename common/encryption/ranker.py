"""The whole protocol in one place, for simulations: one querier, a panel of silos, the same messages as between
hosts.

    with EncryptedRanker(silos, syndromes=syndromes) as ranker:
        scores, cost = ranker.rank(queries)          equals ``ranking.kernel.linear`` but for noise and rounding

Every silo has its own identity, session and prepared gallery; only the processes are fewer than in a deployment,
where each silo has its own worker. What a deployment sends sealed between the silos of a panel, their patient
counts n_ks, is passed here in clear.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

import numpy as np

from common.consortium.identity import Member
from common.encryption.answers import MemoryAnswers
from common.encryption.gallery_rows import Coefficients
from common.encryption.key_epoch import KeyEpoch
from common.encryption.layout import Kernel, Layout
from common.encryption.panel import SMALLEST_PANEL, Panel
from common.encryption.querier_session import QuerierSession, Query
from common.encryption.sanitise import NOISE, Noise
from common.encryption.sealed_keys import WRAP_BYTES
from common.encryption.silo_session import SiloSession
from common.encryption.weighted_gallery import weighted_gallery
from common.encryption.worker import MEMORY, Worker
from common.errors import DisclosureError, EncryptionError
from common.ranking.kernel import Array, Prototypes, patients_per_syndrome

BATCH = 8
WAVE = 16
"""Query ciphertexts on their way at the same time."""


@dataclass(frozen=True)
class Cost:
    """What ranking cost.

    Attributes:
        seconds_per_query: on the clock, everything from clear embedding to clear score, keys not included.
        bytes_up: per query and silo, envelope included.
        bytes_down: per query and silo, envelope included.
        key_bytes: once per key epoch and silo.
    """

    queries: int
    seconds_per_query: float
    bytes_up: float
    bytes_down: float
    key_bytes: int


class EncryptedRanker:
    """Ranks queries against a panel of silos under encryption.

    Args:
        silos: prototypes by silo name. Only syndromes in ``syndromes`` are used.
        syndromes: the columns of the scores; any strings, in any number up to 65,536.
        noise: what silos add, True for the least that hides their rows. Without it an answer leaks them to the
            querier, so it must stay on except in a simulation that compares with the formula.
        workers: processes for the silos; one more serves the querier.
        profile: "standard" requires noise and at least three silos; "simulation" does not.
        batch: queries a ciphertext, a power of two; lowered for long embeddings.
        kernel: "linear", or "quadratic" with
        coefficients: (a0, a1, a2) of ``ranking.kernel.quadratic``.
        seconds: that one request to a worker may take.

    Raises:
        DisclosureError: fewer silos, or no noise, outside the profile "simulation".
        EncryptionError: no syndrome, or embeddings of different or unusable lengths.
    """

    def __init__(
        self,
        silos: Mapping[str, Prototypes],
        *,
        syndromes: Sequence[str],
        noise: bool | Noise = True,
        workers: int = 2,
        profile: Literal["standard", "simulation"] = "standard",
        batch: int = BATCH,
        kernel: Kernel = "linear",
        coefficients: Coefficients | None = None,
        seconds: float = 120.0,
    ) -> None:
        simulated = profile == "simulation"
        self._noise = noise if isinstance(noise, Noise) else NOISE if noise else Noise(0.0)
        if not self._noise.deviation and not simulated:
            raise DisclosureError("answers without noise leak the silos' rows", remedy="use profile='simulation'")
        lengths = {silo.dimension for silo in silos.values()}
        if len(lengths) != 1 or not syndromes:
            raise EncryptionError(
                f"{len(syndromes)} syndromes, {len(silos)} silos, embeddings of lengths {sorted(lengths)}",
                remedy="give at least one syndrome, and prototypes from one model",
            )
        if (kernel == "quadratic") != (coefficients is not None):
            raise EncryptionError(
                f"the {kernel} kernel with coefficients {coefficients}",
                remedy="give them for the quadratic one only",
            )
        (dimension,) = lengths
        widest = Layout(dimension, len(syndromes), 1, kernel).lanes
        layout = Layout(dimension, len(syndromes), max(1, min(batch, widest)), kernel)
        workers = max(1, min(workers, len(silos)))
        _check_memory(layout, silos.values(), workers)
        self._querier = Member("querier:simulation")
        self._members = {name: Member(name) for name in silos}
        cards = tuple(member.card for member in self._members.values())
        smallest = 1 if simulated else SMALLEST_PANEL
        self._panel = Panel(cards, self._querier.card, "simulation", smallest)
        self._epoch = KeyEpoch(self._querier.card, 1, (layout,))
        totals = patients_per_syndrome(silos.values())
        self._absent = np.array([syndrome not in totals for syndrome in syndromes])
        self._rows = {
            name: weighted_gallery(silo, syndromes=syndromes, totals=totals, coefficients=coefficients)
            for name, silo in silos.items()
        }
        self._own_worker = Worker("querier", seconds=seconds)
        self._workers = [Worker("silo", seconds=seconds) for _ in range(workers)]
        self._session: QuerierSession | None = None
        self._silos: list[list[_Silo]] = []

    @property
    def layout(self) -> Layout:
        """How queries and rows share a ciphertext."""
        return self._epoch.layouts[0]

    def rank(self, queries: Array, *, progress: Callable[[int], None] | None = None) -> tuple[Array, Cost]:
        """Scores (n, S) float32, NaN for a syndrome that no silo holds, and what they cost.

        Args:
            queries: (n, d), unit rows.
            progress: called with the number of queries that just ended.

        Raises:
            EncryptionError: a message was refused or a worker ended; the next call goes on with a new process.
        """
        if queries.ndim != 2 or queries.shape[1] != self.layout.dimension:
            raise EncryptionError(
                f"queries of shape {queries.shape} for prototypes of length {self.layout.dimension}",
                remedy="embed both with one model",
            )
        self._begin()
        assert self._session is not None
        started = time.perf_counter()
        scores = np.empty((len(queries), self.layout.rows), dtype=np.float32)
        size = self.layout.queries
        starts = range(0, len(queries), size)
        up = down = 0
        # While the silos answer one wave, the querier opens the one before and encrypts the next.
        with ThreadPoolExecutor(2 * len(self._workers)) as pool:
            waiting: list[_Wave] = []
            for first in range(0, len(starts), WAVE):
                wave = starts[first : first + WAVE]
                asked = [self._session.ask(queries[at : at + size], self._panel) for at in wave]
                jobs = [pool.submit(_answer_all, silos, asked) for silos in self._silos]
                waiting.append(_Wave(starts[first], asked, jobs))
                if len(waiting) > 1:
                    down += self._collect(waiting.pop(0), scores, progress)
                up += sum(len(query.envelope) for query in asked)
            for last in waiting:
                down += self._collect(last, scores, progress)
        scores[:, self._absent] = np.nan
        seconds = time.perf_counter() - started
        count = max(1, len(queries))
        cost = Cost(
            queries=len(queries),
            seconds_per_query=seconds / count,
            bytes_up=up / count,
            bytes_down=down / count / len(self._members),
            key_bytes=len(self._session.keys),
        )
        return scores, cost

    def close(self) -> None:
        """End the workers."""
        for worker in (self._own_worker, *self._workers):
            worker.close()
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _collect(self, wave: _Wave, scores: Array, progress: Callable[[int], None] | None) -> int:
        assert self._session is not None
        answered = [job.result() for job in wave.jobs]
        at, received = wave.start, 0
        for number, query in enumerate(wave.asked):
            answers = {name: found[number] for part in answered for name, found in part.items()}
            scores[at : at + query.count] = self._session.scores(query, answers, noise=self._noise)
            at += query.count
            received += sum(len(answer) for answer in answers.values())
            if progress is not None:
                progress(query.count)
        return received

    def _begin(self) -> None:
        if self._session is not None:
            return
        session = QuerierSession(
            self._querier, self._epoch, self._own_worker, wrap=secrets.token_bytes(WRAP_BYTES)
        )
        with ThreadPoolExecutor(len(self._workers)) as pool:
            self._silos = list(pool.map(lambda number: self._join(number, session), range(len(self._workers))))
        self._session = session

    def _join(self, number: int, session: QuerierSession) -> list[_Silo]:
        joined = []
        for card in self._panel.members[number :: len(self._workers)]:
            silo = SiloSession(self._members[card.name], self._workers[number])
            silo.admit_keys(self._epoch, session.keys)
            galleries = {self.layout: self._rows[card.name]}
            silo.serve(self._panel.gallery_epoch, galleries, noise=self._noise)
            answer = partial(silo.answer, panel=self._panel, key_id=session.key_id, answers=MemoryAnswers())
            joined.append(_Silo(card.name, answer))
        return joined


@dataclass(frozen=True)
class _Silo:
    name: str
    answer: Callable[[bytes], bytes]


@dataclass(frozen=True)
class _Wave:
    start: int
    asked: list[Query]
    jobs: list[Future[dict[str, list[bytes]]]]


def _answer_all(silos: Sequence[_Silo], wave: Sequence[Query]) -> dict[str, list[bytes]]:
    return {silo.name: [silo.answer(query.envelope) for query in wave] for silo in silos}


def _check_memory(layout: Layout, silos: Collection[Prototypes], workers: int) -> None:
    plaintext = 8 * len(layout.parameters.data_moduli) * layout.parameters.degree
    of_scores = layout.blocks * layout.share_rows
    compared = [len(silo.syndromes) // layout.shares if layout.kernel == "quadratic" else 0 for silo in silos]
    needed = plaintext * (of_scores * len(compared) + 2 * sum(compared)) // workers
    if needed > MEMORY // 2:
        raise EncryptionError(
            f"the prepared galleries of {layout.rows} rows take {needed >> 30} GiB in each worker",
            remedy="use more workers, or rank fewer rows at a time",
        )
