"""What this silo does for the others: counts for epochs, keeps their public keys, answers their queries.

The sender is the one that the relay authenticated; what matters is signed inside, and checked against the roster.
A query is (key id, envelope); its panel is never taken from it: this silo derives the panel itself.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from pathlib import Path

from client.ledger.ledger import Ledger
from client.ranking.gallery_epochs import GalleryEpochs
from client.ranking.layouts import layouts_of
from client.ranking.open_epoch import OpenEpoch
from client.ranking.standing import Standing
from client.ranking.versions import TOPIC as VERSIONS
from client.ranking.versions import goes_by
from common.consortium.gallery_epoch import GalleryEpoch
from common.consortium.identity import Card
from common.consortium.panels import divide
from common.encryption.answers import Answers
from common.encryption.envelope import claimed
from common.encryption.key_epoch import KeyEpoch
from common.encryption.panel import Panel
from common.encryption.silo_session import SiloSession
from common.errors import AgentError, DisclosureError, EncryptionError
from common.storage import write_bytes

KNOWN, UNKNOWN = b"known", b"unknown"
_NUMBER = struct.Struct(">I")
_EPOCH_ID = 64


def query_body(epoch: GalleryEpoch, envelope: bytes) -> bytes:
    """What a query's request holds: the epoch's id, padded, then the envelope."""
    return epoch.id.encode().ljust(_EPOCH_ID) + envelope


def keys_body(number: int, envelope: bytes) -> bytes:
    """What brings public keys: their number, then the KEYS envelope."""
    return _NUMBER.pack(number) + envelope


def panel_of(epoch: GalleryEpoch, querier: Card, silo: str) -> Panel:
    """The panel of ``querier`` that ``silo`` belongs to, as everybody derives it.

    Raises:
        DisclosureError: there is none.
    """
    for names in divide(epoch, querier.name).panels:
        if silo in names:
            return Panel(tuple(epoch.card(name) for name in names), querier, epoch.id)
    raise DisclosureError(
        f"{silo} stands in no panel of {querier.name} in gallery epoch {epoch.number}", remedy="ask others"
    )


class Answering:
    """One silo's answers.

    Args:
        folder: keeps other silos' public keys over a restart.
        rank_allowed: whether policy lets others rank against this silo now.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        ledger: Ledger,
        sessions: SiloSession,
        epochs: GalleryEpochs,
        standing: Callable[[], Standing],
        rank_allowed: Callable[[], bool],
    ) -> None:
        self._name, self._folder = name, folder
        self._ledger, self._sessions, self._epochs = ledger, sessions, epochs
        self._standing, self._rank_allowed = standing, rank_allowed
        self._admitting = threading.Lock()

    def handle(self, sender: str, topic: str, body: bytes) -> bytes:
        """Answer one request.

        Raises:
            PhenofedError: the request is refused.
        """
        # First of all: it is what reads a changed policy or roster.
        roster = self._standing().roster
        if not roster.holds(sender):
            raise AgentError(f"{sender} is no member of {roster.consortium}", remedy="join with the operator")
        if not self._rank_allowed():
            raise DisclosureError("this hospital takes no part in ranking", remedy="leave it out")
        card = roster.member(sender).card
        if topic == "epoch.newest":
            return self._epochs.newest(body)
        if topic == "epoch.check":
            return self._epochs.check(body)
        if topic == "epoch.count":
            return self._epochs.count(body)
        if topic == "epoch.open":
            return self._epochs.open(body)
        if topic == VERSIONS:
            return goes_by(self._standing()).model_dump_json().encode()
        if topic == "keys.known":
            return KNOWN if self._has_keys(card, body) else UNKNOWN
        if topic == "keys.bring":
            return self._admit(card, body)
        if topic == "query":
            return self._answer(card, body)
        raise AgentError(f"this silo does not know '{topic[:40]}'", remedy="bring both sides to one version")

    def _admit(self, card: Card, body: bytes) -> bytes:
        opened = self._epochs.require()
        if len(body) <= _NUMBER.size:
            raise EncryptionError("the keys cannot be read", remedy="bring both sides to one version")
        (number,) = _NUMBER.unpack_from(body)
        with self._admitting:
            layouts = layouts_of(opened.epoch)
            key_id = self._sessions.admit_keys(KeyEpoch(card, number, layouts), body[_NUMBER.size :])
            write_bytes(self._keys_path(card), body, private=True)
        return key_id

    def _has_keys(self, card: Card, key_id: bytes) -> bool:
        """Whether queries under these keys can be answered; keys of before a restart are read again."""
        if self._sessions.has_keys(key_id):
            return True
        try:
            kept = self._keys_path(card).read_bytes()
            # Loading keys takes long; nobody makes this silo do it by asking for any.
            if claimed(kept[_NUMBER.size :])[1] != key_id:
                return False
            return self._admit(card, kept) == key_id
        except (OSError, EncryptionError):
            return False

    def _answer(self, card: Card, body: bytes) -> bytes:
        epoch_id, envelope = body[:_EPOCH_ID].decode(errors="replace").rstrip(" "), body[_EPOCH_ID:]
        opened = self._epochs.live(epoch_id)
        if opened is None:
            raise AgentError(
                "the gallery epoch asked for is not open here", remedy="ask again in the newest epoch"
            )
        key_id, _ = claimed(envelope)
        if not self._has_keys(card, key_id):
            raise EncryptionError("the query's keys are not known here", remedy="bring them first")
        return self._sessions.answer(
            envelope,
            panel=panel_of(opened.epoch, card, self._name),
            key_id=key_id,
            answers=self._account(card, opened),
        )

    def _account(self, card: Card, opened: OpenEpoch) -> Answers:
        standing = self._standing()
        return self._ledger.answers(card, opened.lineages(standing), standing.granted(opened.profile))

    def _keys_path(self, card: Card) -> Path:
        return self._folder / f"{card.fingerprint.hex()[:32]}.keys"
