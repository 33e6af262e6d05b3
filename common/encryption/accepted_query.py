"""A query that passed every check of a silo, and how its answer is made."""

from __future__ import annotations

import json
from dataclasses import dataclass

from common.consortium.identity import Member
from common.encryption.admitted_keys import QuerierKeys
from common.encryption.closed_rows import closed_key, open_closed, seal_closed, sealed_bytes
from common.encryption.envelope import seal, unseal
from common.encryption.layout import Layout
from common.encryption.masks import mask_key, transcript
from common.encryption.panel import Panel, pair_key
from common.encryption.served_gallery import ServedGallery
from common.encryption.worker import Workers


@dataclass(frozen=True)
class AcceptedQuery:
    """What is needed to answer it.

    Attributes:
        message_id: (32 bytes) as the querier chose it.
        bound_to: (32 bytes) the transcript, and message id of the answer.
    """

    member: Member
    panel: Panel
    keys: QuerierKeys
    layout: Layout
    payload: bytes
    message_id: bytes
    bound_to: bytes

    def answer(self, served: ServedGallery, worker: Workers) -> bytes:
        """The answer out of a state of the gallery, sanitised, masked and signed.

        Raises:
            EncryptionError: the payload is no ciphertext, or the worker ended over it.
            Dropped: the keys or the gallery are no longer in use.
        """
        own = self.member.card.name
        pairs = [(sign, pair_key(self.member, card, self.panel)) for sign, card in self.panel.others(own)]
        gallery = served.names[self.layout]
        data = {
            "keys": self.keys.name,
            "gallery": gallery,
            "signs": [sign for sign, _ in pairs],
            "noise": [served.noise.deviation, served.noise.scaled],
            "closed": sorted(served.closed),
        }
        mask_keys = [mask_key(pair, self.bound_to) for _, pair in pairs]
        parts = [json.dumps(data).encode(), self.payload, *mask_keys]
        (response,) = worker.call(b"answer", *parts, needs=[self.keys.name, gallery])
        closed = seal_closed(served.closed, self.layout.rows, self._closed_key())
        terms = self.keys.epoch.answer_terms(self.layout, self.panel, self.keys.key_id)
        return seal(response + closed, terms, self.member, self.bound_to)

    def closed_rows(self, answer: bytes) -> frozenset[int]:
        """The rows that an earlier answer of this silo names as closed.

        Raises:
            EncryptionError: it is not this silo's answer to this query.
        """
        terms = self.keys.epoch.answer_terms(self.layout, self.panel, self.keys.key_id)
        payload = unseal(answer, [terms], self.member.card, message_id=self.bound_to).payload
        content = payload[-sealed_bytes(self.layout.rows) :]
        return frozenset(open_closed(content, self.layout.rows, self._closed_key()).nonzero()[0].tolist())

    def _closed_key(self) -> bytes:
        return closed_key(self.member, self.panel.querier, self.bound_to)


def accept(
    envelope: bytes, *, member: Member, panel: Panel, keys: QuerierKeys, served: ServedGallery
) -> AcceptedQuery:
    """Check a query envelope.

    Raises:
        EncryptionError: it is not from the panel's querier, under these keys, for this panel, and in a layout that
            is served; always the same message.
    """
    acceptable = {
        keys.epoch.query_terms(layout, panel, keys.key_id): layout
        for layout in keys.epoch.layouts
        if layout in served.galleries
    }
    opened = unseal(envelope, list(acceptable), panel.querier)
    layout = acceptable[opened.terms]
    bound_to = transcript(opened.signed, panel=panel.digest, layout=layout.digest)
    return AcceptedQuery(member, panel, keys, layout, opened.payload, opened.message_id, bound_to)
