"""What the hospital's own people may ask of the agent: rank, status, budget, keys, epochs."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from client.clinic.kept import keep_portrait
from client.clinic.ranking_list import DECIMALS, Listed, RankingList, best
from client.discovery.requests import operations
from client.local.door import Request
from client.monitoring.snapshot import certificate_days, documents_status, software_status
from client.ranking.querier import MOST_PATIENTS, ConsortiumScores
from client.ranking.versions import left_out
from common.consortium.gallery_epoch import GalleryEpoch
from common.consortium.panels import divide
from common.consortium.words import fingerprint_words
from common.errors import AgentError, ConfigError, DisclosureError, PhotoError
from common.privacy.disclosure import support_band

if TYPE_CHECKING:
    from client.agent import Agent
    from client.gallery.encoder import Portrait

MOST_PHOTOS = 32
MOST_LETTERS = 128


class LocalRequests:
    """Handles requests from the local socket for one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._operations = {
            "rank": self._rank,
            "status": self._status,
            "budget": self._budget,
            "epoch": self._epoch,
            "keys": self._keys,
            "look": self._look,
            "stop": self._stop,
            **operations(agent.discovery),
        }

    def handle(self, request: Request) -> dict[str, Any]:
        """Answer one request.

        Raises:
            PhenofedError: it cannot be done.
        """
        operation = self._operations.get(request.operation)
        if operation is None:
            raise AgentError(f"the agent knows no '{request.operation[:40]}'", remedy="update the agent")
        return operation(request)

    def _rank(self, request: Request) -> dict[str, Any]:
        agent, values = self._agent, request.values
        agent.standing()  # reads a policy that changed
        patients = [(_reference(reference), int(photos)) for reference, photos in values["patients"]]
        top = int(values["top"])
        if not 1 <= len(patients) <= MOST_PATIENTS or not all(1 <= n <= MOST_PHOTOS for _, n in patients):
            raise ConfigError(
                f"{len(patients)} patients are asked for",
                remedy=f"ask for 1 to {MOST_PATIENTS} patients with 1 to {MOST_PHOTOS} photos each",
            )
        if sum(photos for _, photos in patients) != len(request.attachments):
            raise PhotoError("photos are missing from the request", remedy="send it again")
        if not agent.policy.allow.rank:
            raise DisclosureError("this hospital's policy forbids ranking", remedy="see allow.rank in policy.yaml")
        if values["keep"] and not agent.policy.keep.queries:
            raise DisclosureError(
                "this hospital's policy keeps nothing of new patients",
                remedy="leave --keep out, or set keep.queries in policy.yaml",
            )
        portraits, at = [], 0
        for reference, photos in patients:
            try:
                portraits.append(
                    agent.encoder.portrait(request.attachments[at : at + photos], aligned=bool(values["aligned"]))
                )
            except PhotoError as error:
                raise PhotoError(f"patient {reference}: {error.what}", remedy=error.remedy) from error
            at += photos
        answer = agent.querier.rank(np.stack([portrait.embedding for portrait in portraits]))
        agent.proposer.versions.forget()  # an answer is read for long: no word of some seconds ago
        apart = self._not_asked(answer.opened.epoch)
        lists = [
            self._list(reference, portrait, answer, row, max(1, top), apart)
            for row, ((reference, _), portrait) in enumerate(zip(patients, portraits, strict=True))
        ]
        if values["keep"]:
            for portrait, ranking in zip(portraits, lists, strict=True):
                keep_portrait(agent.workspace.folder / "kept", portrait, ranking)
        return {"lists": [ranking.to_json() for ranking in lists]}

    def _list(
        self,
        reference: str,
        portrait: Portrait,
        answer: ConsortiumScores,
        row: int,
        top: int,
        apart: dict[str, str],
    ) -> RankingList:
        opened, scores = answer.opened, answer.scores[row]
        entries = self._agent.standing().registry.entries
        rows = []
        for rank, index in enumerate(best(scores, top), 1):
            entry = entries[index]
            rows.append(
                Listed(
                    rank,
                    round(float(scores[index]), DECIMALS),
                    entry.key,
                    entry.name,
                    entry.identifiers,
                    entry.genes,
                    entry.group,
                    support_band(int(opened.totals.patients[index])),
                )
            )
        answered = int(np.sum(~np.isnan(scores[: len(entries)])))
        return RankingList(
            patient=reference,
            release=self._agent.encoder.release.name,
            gallery_epoch=opened.epoch.id,
            kernel=opened.epoch.kernel,
            profile=opened.profile.name,
            silos=answer.silos,
            missing=answer.missing,
            silent=answer.silent,
            quality=portrait.remarks,
            answerable=answered,
            withheld=sum(not entry.retired for entry in entries) - answered,
            rows=tuple(rows),
            not_asked=apart,
        )

    def _not_asked(self, epoch: GalleryEpoch) -> dict[str, str]:
        agent = self._agent
        name, standing, present = agent.workspace.name, agent.standing(), agent.link.present()
        return left_out(name, epoch, standing, present, agent.proposer.versions)

    def _status(self, request: Request) -> dict[str, Any]:
        agent = self._agent
        current = agent.epochs.current
        epoch: dict[str, Any] | None = None
        if current is not None:
            name = agent.workspace.name
            epoch = {
                "number": current.epoch.number,
                "profile": current.profile.name,
                "kernel": current.epoch.kernel,
                "silos": [card.name for card in current.epoch.participants],
                "waiting": list(current.epoch.waiting),
                "panels": [list(panel) for panel in divide(current.epoch, name).panels],
                "answerable": int(np.sum(current.answerable)),
                "syndromes": len(agent.standing().registry.entries),
            }
        return {
            "name": agent.workspace.name,
            "connected": agent.link.connected,
            "why_not": agent.link.why_not,
            "present": sorted(agent.link.present()),
            "software": software_status(agent.link),
            "release": agent.encoder.release.name,
            "epoch": epoch,
            "last_refusal": agent.steward.last_refusal,
            "left_out": dict(agent.proposer.left_out) if current is None else self._not_asked(current.epoch),
            "documents": documents_status(agent),
            "unconfined": list(agent.workers.unconfined),
            "certificate_days": math.floor(certificate_days(agent.workspace)),
            "not_accepted": sorted(agent.standing().strangers),
        }

    def _budget(self, request: Request) -> dict[str, Any]:
        agent = self._agent
        standing = agent.standing()
        current = agent.epochs.current
        profile = standing.granted(current.profile if current else standing.floor)
        lineages = current.lineages(standing) if current else ()
        left = agent.ledger.left_to_ask(lineages, profile)
        return {
            "profile": profile.name,
            "queries_a_year": profile.queries_a_year,
            "left_to_ask": None if left == sys.maxsize else left,
            "queriers": [
                {
                    "querier": item.querier,
                    "lineage": item.lineage,
                    "remaining": item.remaining,
                    "a_day": round(item.pace, 2),
                    "exhausted": item.exhausted.isoformat() if item.exhausted else None,
                }
                for item in agent.ledger.forecast(profile)
            ],
        }

    def _epoch(self, request: Request) -> dict[str, Any]:
        agent = self._agent
        admits = agent.standing().admits
        if not agent.policy.allow.rank:
            raise DisclosureError("this hospital's policy forbids ranking", remedy="see allow.rank in policy.yaml")
        opened = agent.proposer.propose(name for name in agent.link.present() if admits(name))
        return {
            "number": opened.epoch.number,
            "silos": [card.name for card in opened.epoch.participants],
            "waiting": list(opened.epoch.waiting),
            "left_out": dict(agent.proposer.left_out),
        }

    def _keys(self, request: Request) -> dict[str, Any]:
        keys, wanted = self._agent.keys, request.values.get("action", "show")
        if wanted == "wipe":
            keys.wipe()
            return {"keys": None}
        used = keys.rotate() if wanted == "rotate" else keys.in_use()
        if used is None:
            return {"keys": None}
        return {
            "keys": {
                "number": used.epoch.number,
                "made": used.made.isoformat(),
                "fingerprint": used.session.key_id.hex(),
                "words": fingerprint_words(used.session.key_id),
            }
        }

    def _look(self, request: Request) -> dict[str, Any]:
        self._agent.close_withdrawn()
        return {}

    def _stop(self, request: Request) -> dict[str, Any]:
        self._agent.stop()
        return {}


def _reference(text: object) -> str:
    """A patient's reference as it may stand in messages and files: one short line."""
    if not isinstance(text, str) or not text.isprintable() or not 1 <= len(text) <= MOST_LETTERS:
        raise ConfigError(
            "a patient's reference is no single line", remedy=f"use 1 to {MOST_LETTERS} printable characters"
        )
    return text
