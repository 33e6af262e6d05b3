"""Silos and a querier that met: sessions in this process, two worker processes, real envelopes."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from common.encryption.answers import MemoryAnswers
from common.encryption.closed_rows import sealed_bytes
from common.encryption.envelope import HEADER_BYTES, SIGNATURE_BYTES
from common.encryption.gallery_rows import GalleryRows
from common.encryption.key_epoch import KeyEpoch
from common.encryption.querier_session import QuerierSession
from common.encryption.refusal import refused
from common.encryption.sanitise import NOISE
from common.encryption.silo_session import SiloSession
from common.encryption.worker import Worker
from common.errors import EncryptionError
from tests.encryption_panel import Layout, silo_panel, unit

LAYOUT = Layout(64, 20, 8)
SEALED = sealed_bytes(LAYOUT.rows)
WRAP = bytes(range(32))
NAMES = ("a", "b", "c")
REFUSED = str(refused())


class Consortium:
    """Three silos that serve one gallery epoch and hold the querier's keys."""

    def __init__(self, own: Worker, worker: Worker) -> None:
        generator = np.random.default_rng(0)
        self.own, self.worker = own, worker
        self.members, self.querier, self.panel = silo_panel(NAMES)
        self.rows = {name: unit(generator, 20, 64).astype(np.float64) / 3 for name in NAMES}
        self.probes = unit(generator, 3, 64)
        self.epoch = KeyEpoch(self.querier.card, 1, (LAYOUT,))
        self.asking = QuerierSession(self.querier, self.epoch, own, wrap=WRAP)
        self.key_id = self.asking.key_id
        self.accounts = {name: MemoryAnswers() for name in NAMES}
        self.silos = {name: self.join(name) for name in NAMES}

    def join(self, name, *, epoch_id="1", noise=NOISE):
        """A new session of a silo that serves and has the querier's keys."""
        session = SiloSession(self.members[name], self.worker)
        session.serve(epoch_id, {LAYOUT: GalleryRows(self.rows[name])}, noise=noise)
        session.admit_keys(self.epoch, self.asking.keys)
        return session

    def panel_of(self, epoch_id):
        """The same silos in another gallery epoch."""
        return dataclasses.replace(self.panel, gallery_epoch=epoch_id)

    def ask(self, panel=None):
        return self.asking.ask(self.probes, panel or self.panel)

    def answer(self, name, envelope, *, panel=None, key_id=None, answers=None):
        return self.silos[name].answer(
            envelope,
            panel=panel or self.panel,
            key_id=key_id or self.key_id,
            answers=answers or self.accounts[name],
        )

    def answers(self, query):
        return {name: self.answer(name, query.envelope, panel=query.panel) for name in NAMES}

    def query_terms(self, panel=None):
        return self.epoch.query_terms(LAYOUT, panel or self.panel, self.key_id)

    def answer_terms(self, panel=None):
        return self.epoch.answer_terms(LAYOUT, panel or self.panel, self.key_id)

    def expected(self, closed=()):
        scores = self.probes @ sum(self.rows.values()).T
        scores[:, list(closed)] = np.nan
        return scores


def payload_of(envelope):
    return envelope[HEADER_BYTES:-SIGNATURE_BYTES]


def message_id_of(envelope):
    return envelope[HEADER_BYTES - 64 : HEADER_BYTES - 32]


def assert_refused(call, *arguments, **keywords):
    with pytest.raises(EncryptionError) as caught:
        call(*arguments, **keywords)
    assert str(caught.value) == REFUSED


def structured(envelope):
    """Envelopes altered where it could matter: fields, lengths, order, emptiness."""
    header, payload, signature = envelope[:HEADER_BYTES], payload_of(envelope), envelope[-SIGNATURE_BYTES:]
    yield from (b"", envelope[:1], header, header + signature, envelope[:-1], envelope + b"\0", envelope * 2)
    yield from (payload, signature, header + payload, header + signature + payload, bytes(len(envelope)))
    yield from (header + bytes(len(payload)) + signature, header + payload[::-1] + signature)
    for length in (0, 1, len(payload) - 1, len(payload) + 1, 1 << 31, (1 << 64) - 1):
        yield header[:174] + length.to_bytes(8, "big") + header[182:] + payload + signature
        if length < len(payload):
            yield header + payload[:length] + signature
    for place in (0, 7, 8, 9, 10, 11, 12, 14, 46, 78, 110, 142, 174, 182, 214, HEADER_BYTES):
        for value in (0x00, 0x01, 0x7F, 0xFF):
            altered = bytearray(envelope)
            altered[place] = value if altered[place] != value else value ^ 0x55
            yield bytes(altered)
    # A body that is right for its hash, under a signature that is not.
    forged = header[:-32] + hashlib.sha256(bytes(len(payload))).digest()
    yield forged + bytes(len(payload)) + signature


def mutated(envelope, generator, count):
    """Random flips, cuts, repetitions and insertions."""
    for number in range(count):
        altered = bytearray(envelope)
        place = int(generator.integers(len(altered)))
        kind = number % 4
        if kind == 0:
            altered[place] ^= 1 << int(generator.integers(8))
        elif kind == 1:
            del altered[place : place + int(generator.integers(1, 200))]
        elif kind == 2:
            altered[place:place] = altered[place : place + 1 + int(generator.integers(200))]
        else:
            altered[place : place + 16] = generator.bytes(16)
        yield bytes(altered)
