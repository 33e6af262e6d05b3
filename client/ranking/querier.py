"""This hospital asks the others: one ciphertext a panel, sums of complete panels, its own patients in clear.

An incomplete panel gives nothing. What is lost with it is named, and the scores of syndromes that are known
mainly there are then too low.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.ledger.ledger import Ledger
from client.ranking.answering import KNOWN, keys_body, query_body
from client.ranking.epoch_rows import clear_scores
from client.ranking.gallery_epochs import GalleryEpochs
from client.ranking.layouts import layouts_of, parts_of
from client.ranking.open_epoch import OpenEpoch
from client.ranking.query_keys import KeysInUse, QueryKeys
from client.ranking.standing import Standing
from client.ranking.versions import Ask
from common.consortium.identity import Card, Member
from common.consortium.panels import divide
from common.encryption.panel import Panel
from common.encryption.querier_session import Query
from common.encryption.sanitise import Noise
from common.errors import EncryptionError, PhenofedError

SECONDS = 60.0
KEYS_SECONDS = 180.0
MOST_PATIENTS = 64
AT_ONCE = 16


@dataclass(frozen=True)
class ConsortiumScores:
    """What the consortium said.

    Attributes:
        scores: (n, S) float64, NaN where a syndrome is not answered.
        silos: those in the scores, this one included where it has patients in the epoch.
        missing: those that are not, since their panel is incomplete.
        silent: why, for each silo that gave no answer.
    """

    opened: OpenEpoch
    scores: NDArray[np.float64]
    silos: tuple[str, ...]
    missing: tuple[str, ...]
    silent: dict[str, str]


class ConsortiumQuerier:
    """Asks for this hospital; one question at a time.

    Args:
        ask: how other silos are reached.
        seconds: that a silo may take to answer.
    """

    def __init__(
        self,
        member: Member,
        *,
        keys: QueryKeys,
        epochs: GalleryEpochs,
        ledger: Ledger,
        standing: Callable[[], Standing],
        ask: Ask,
        seconds: float = SECONDS,
    ) -> None:
        self._member, self._keys, self._epochs = member, keys, epochs
        self._ledger, self._standing, self._ask = ledger, standing, ask
        self._seconds = seconds
        self._lock = threading.Lock()

    def rank(self, embeddings: NDArray[np.floating]) -> ConsortiumScores:
        """Scores of (n, d) unit embeddings, one a patient, n at most 64.

        Raises:
            DisclosureError: the budget does not cover them; nothing was sent.
            AgentError: no gallery epoch is open, or only one of another release.
        """
        with self._lock, ThreadPoolExecutor(AT_ONCE) as pool:
            opened, standing = self._epochs.require(), self._standing()
            standing.check_model(opened.epoch)
            panels = self._panels(opened)
            # The record comes first: a query that was sent and forgotten would be refused at the silos.
            self._ledger.asked(opened.lineages(standing), len(embeddings), standing.granted(opened.profile))
            keys = self._keys.for_layouts(layouts_of(opened.epoch))
            silent = self._bring_keys(pool, panels, keys)
            asked = [self._ask_panel(pool, keys, panel, opened, embeddings, silent) for panel in panels]
            own = self._epochs.own_gallery(opened)
            scores = clear_scores(own, opened, embeddings)
            silos = [] if own is None else [self._member.card.name]
            for panel, jobs in zip(panels, asked, strict=True):
                answer = self._collect(keys, opened, jobs, silent)
                if answer is not None:
                    scores = scores + answer
                    silos += [card.name for card in panel.members]
        everybody = {name for group in opened.epoch.groups for name in group}
        missing = sorted(everybody - set(silos), key=str.encode)
        return ConsortiumScores(opened, scores, tuple(sorted(silos, key=str.encode)), tuple(missing), silent)

    def _panels(self, opened: OpenEpoch) -> list[Panel]:
        epoch = opened.epoch
        names = divide(epoch, self._member.card.name).panels
        return [Panel(tuple(epoch.card(name) for name in panel), self._member.card, epoch.id) for panel in names]

    def _bring_keys(self, pool: ThreadPoolExecutor, panels: Sequence[Panel], keys: KeysInUse) -> dict[str, str]:
        """Bring the public keys to every silo that lacks them; the silos that could not be given them, and why."""
        cards = [card for panel in panels for card in panel.members]
        jobs = {card.name: pool.submit(self._bring_to, card, keys) for card in cards}
        return {name: why for name, job in jobs.items() if (why := job.result())}

    def _bring_to(self, card: Card, keys: KeysInUse) -> str:
        key_id, envelope = keys.session.key_id, keys.session.keys
        try:
            if self._ask(card.name, "keys.known", key_id, self._seconds) != KNOWN:
                self._ask(card.name, "keys.bring", keys_body(keys.epoch.number, envelope), KEYS_SECONDS)
        except PhenofedError as error:
            return str(error)
        return ""

    def _ask_panel(
        self,
        pool: ThreadPoolExecutor,
        keys: KeysInUse,
        panel: Panel,
        opened: OpenEpoch,
        embeddings: NDArray[np.floating],
        silent: dict[str, str],
    ) -> list[tuple[Query, dict[str, Future[bytes]]]]:
        """Ask every silo of a panel; nothing is asked of a panel that is incomplete already."""
        if any(card.name in silent for card in panel.members):
            return []
        asked, at = [], 0
        for layout, count in parts_of(len(embeddings), layouts_of(opened.epoch)[1]):
            query = keys.session.ask(embeddings[at : at + count], panel, layout)
            body = query_body(opened.epoch, query.envelope)
            jobs = {
                card.name: pool.submit(self._ask, card.name, "query", body, self._seconds)
                for card in panel.members
            }
            asked.append((query, jobs))
            at += count
        return asked

    def _collect(
        self,
        keys: KeysInUse,
        opened: OpenEpoch,
        asked: list[tuple[Query, dict[str, Future[bytes]]]],
        silent: dict[str, str],
    ) -> NDArray[np.float64] | None:
        """(n, S) the panel's sum, None where a silo of it gave no answer, or answers were refused."""
        noise = Noise(opened.profile.noise, scaled=opened.profile.scaled_noise)
        parts, complete = [], bool(asked)
        for query, jobs in asked:
            answers: dict[str, bytes] = {}
            for name, job in jobs.items():
                try:
                    answers[name] = job.result()
                except PhenofedError as error:
                    silent[name], complete = str(error), False
            if complete:
                try:
                    parts.append(keys.session.scores(query, answers, noise=noise))
                except EncryptionError as error:
                    silent.update(dict.fromkeys(answers, str(error)))
                    complete = False
        return np.concatenate(parts) if complete else None
