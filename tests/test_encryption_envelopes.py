"""Sessions refuse what they did not agree on: replays, other keys, panels and layouts, and bytes that were
altered."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets

import numpy as np
import pytest

from common.consortium.identity import Member
from common.encryption import envelope as envelopes
from common.encryption import residues
from common.encryption.closed_rows import closed_key, seal_closed
from common.encryption.envelope import HEADER_BYTES, NOTHING, Kind, Terms, seal, unseal
from common.encryption.key_epoch import KeyEpoch
from common.encryption.parameters import LINEAR
from common.encryption.silo_session import SiloSession
from common.encryption.sizes import query_bytes
from common.encryption.worker import Worker
from common.errors import EncryptionError
from tests.encryption_consortium import (
    SEALED,
    Consortium,
    assert_refused,
    message_id_of,
    mutated,
    payload_of,
    structured,
)
from tests.encryption_panel import Layout


@pytest.fixture(scope="module")
def world():
    with Worker("querier") as own, Worker("silo") as worker:
        yield Consortium(own, worker)


@pytest.fixture
def query(world):
    return world.ask()


def test_a_panel_of_sessions_gives_the_sum(world, query):
    assert world.asking.scores(query, world.answers(query)) == pytest.approx(world.expected(), abs=1e-4)


def test_a_replayed_query_gets_the_same_bytes(world, query):
    assert world.answer("a", query.envelope) == world.answer("a", query.envelope)


def test_a_message_id_serves_one_query_only(world, query):
    world.answer("a", query.envelope)
    other = world.ask()
    again = seal(payload_of(other.envelope), world.query_terms(), world.querier, message_id_of(query.envelope))
    assert_refused(world.answer, "a", again)


def test_answers_of_another_query_are_refused(world, query):
    earlier = world.ask()
    mixed = {**world.answers(query), "b": world.answer("b", earlier.envelope)}
    assert_refused(world.asking.scores, query, mixed)


def test_answers_count_only_from_the_silo_that_they_are_given_for(world, query):
    found = world.answers(query)
    assert_refused(world.asking.scores, query, {**found, "a": found["b"], "b": found["a"]})


def test_an_incomplete_panel_gives_nothing(world, query):
    found = world.answers(query)
    with pytest.raises(EncryptionError, match="no answer from b"):
        world.asking.scores(query, {name: found[name] for name in "ac"})


def test_a_sum_out_of_range_is_refused(world, query):
    """One silo signs noise, its closed rows in order: the sum decrypts to nothing that scores could be."""
    found = world.answers(query)
    payload = payload_of(found["c"])
    zeros = bytes(len(payload) - SEALED) + payload[-SEALED:]
    forged = seal(zeros, world.answer_terms(), world.members["c"], query.bound_to)
    world.asking.scores(
        query, {**found, "c": seal(payload, world.answer_terms(), world.members["c"], query.bound_to)}
    )
    assert_refused(world.asking.scores, query, {**found, "c": forged})


def test_keys_of_another_querier_are_refused(world):
    stranger = Member("querier")
    theirs = KeyEpoch(stranger.card, 1, world.epoch.layouts)
    payload = payload_of(world.asking.keys)
    for epoch in (theirs, world.epoch):
        envelope = seal(payload, epoch.keys_terms(), stranger, epoch.key_id(payload))
        assert_refused(world.silos["a"].admit_keys, world.epoch, envelope)
    assert_refused(world.silos["a"].admit_keys, theirs, world.asking.keys)


def test_keys_that_were_exchanged_under_the_signature_are_refused(world):
    silo, payload = SiloSession(world.members["a"], world.worker), bytearray(payload_of(world.asking.keys))
    payload[100] ^= 1
    exchanged = seal(bytes(payload), world.epoch.keys_terms(), world.querier, world.key_id)
    assert_refused(silo.admit_keys, world.epoch, exchanged)
    assert_refused(silo.admit_keys, world.epoch, world.asking.keys[:HEADER_BYTES] + bytes(payload) + bytes(64))


def test_a_key_epoch_has_one_set_of_keys(world):
    """The querier itself, or who stole its signing key, cannot put other keys in place of those in use."""
    payload = bytearray(payload_of(world.asking.keys))
    payload[100] ^= 1
    second = seal(bytes(payload), world.epoch.keys_terms(), world.querier, world.epoch.key_id(bytes(payload)))
    assert_refused(world.silos["a"].admit_keys, world.epoch, second)


def test_keys_come_under_their_own_number_and_layouts(world):
    silo = world.silos["a"]
    for other in (
        dataclasses.replace(world.epoch, number=2),
        dataclasses.replace(world.epoch, layouts=(Layout(64, 21, 8),)),
        dataclasses.replace(world.epoch, layouts=(Layout(64, 20, 1),)),
    ):
        assert_refused(silo.admit_keys, other, world.asking.keys)


def test_a_query_under_another_key_panel_layout_or_parameters_is_refused(world, query):
    payload, terms = payload_of(query.envelope), world.query_terms()
    changes = [
        {"key_id": secrets.token_bytes(32)},
        {"panel": world.panel_of("2").digest},
        {"panel": NOTHING},
        {"layout": Layout(64, 21, 8).digest},
        {"parameters": bytes(32)},
        {"kind": Kind.ANSWER},
    ]
    for change in changes:
        altered = dataclasses.replace(terms, **change)
        assert_refused(world.answer, "a", seal(payload, altered, world.querier, secrets.token_bytes(32)))
    world.answer("a", seal(payload, terms, world.querier, secrets.token_bytes(32)))


def test_a_query_is_answered_under_the_keys_that_it_names_only(world, query):
    assert_refused(world.answer, "a", query.envelope, key_id=secrets.token_bytes(32))


def test_a_query_of_another_protocol_version_is_refused(world, query, monkeypatch):
    payload = payload_of(query.envelope)
    with monkeypatch.context() as earlier:
        earlier.setattr(envelopes, "VERSION", envelopes.VERSION - 1)
        old = seal(payload, world.query_terms(), world.querier, secrets.token_bytes(32))
    assert_refused(world.answer, "a", old)


def test_a_query_signed_by_another_member_is_refused(world, query):
    payload = payload_of(query.envelope)
    for sender in (world.members["b"], Member("querier")):
        assert_refused(world.answer, "a", seal(payload, world.query_terms(), sender, secrets.token_bytes(32)))


def test_a_signed_payload_of_another_length_is_refused(world, query):
    payload = payload_of(query.envelope)
    for other in (payload[:-1], payload + b"\0", b""):
        header = query.envelope[: HEADER_BYTES - 32] + hashlib.sha256(other).digest()
        assert_refused(world.answer, "a", header + other + world.querier.sign(header))


def test_an_old_answer_is_refused_even_where_no_mask_would_show_it(world):
    """A simulation with one silo has no masks; the transcript alone tells its answers apart."""
    alone = dataclasses.replace(world.panel_of("alone"), members=(world.members["a"].card,), smallest=1)
    silo = world.join("a", epoch_id="alone")
    first, second = world.ask(alone), world.ask(alone)
    old, new = (
        silo.answer(one.envelope, panel=alone, key_id=world.key_id, answers=world.accounts["a"])
        for one in (first, second)
    )
    assert_refused(world.asking.scores, second, {"a": old})
    key = closed_key(world.members["a"], world.querier.card, second.bound_to)
    payload = payload_of(old)[:-SEALED] + seal_closed([], 20, key)
    fitted = seal(payload, world.answer_terms(alone), world.members["a"], first.bound_to)
    assert_refused(world.asking.scores, second, {"a": fitted})
    assert world.asking.scores(second, {"a": new}).shape == (3, 20)


def test_a_silo_answers_panels_that_it_is_in(world, query):
    outside = SiloSession(Member("d"), world.worker)
    outside.admit_keys(world.epoch, world.asking.keys)
    with pytest.raises(EncryptionError, match="not in the panel"):
        outside.answer(query.envelope, panel=world.panel, key_id=world.key_id, answers=world.accounts["a"])


def test_altered_envelopes_are_refused_alike_and_never_reach_the_worker(world, query, monkeypatch):
    generator = np.random.default_rng(5)
    reached = []
    monkeypatch.setattr(world.worker, "call", lambda *parts, **needs: reached.append(parts))
    tried = 0
    for altered in (*structured(query.envelope), *mutated(query.envelope, generator, 700)):
        assert altered != query.envelope
        assert_refused(world.answer, "a", altered)
        tried += 1
    assert tried > 780
    assert not reached


def test_altered_keys_are_refused_alike_and_never_reach_the_worker(world, monkeypatch):
    generator = np.random.default_rng(4)
    small = KeyEpoch(world.querier.card, 9, (Layout(1, 1, 1),))
    payload = generator.bytes(small.keys_terms().length)
    envelope = seal(payload, small.keys_terms(), world.querier, small.key_id(payload))
    reached = []
    monkeypatch.setattr(world.worker, "setup", lambda *parts: reached.append(parts))
    tried = 0
    for altered in (*structured(envelope), *mutated(envelope, generator, 700)):
        assert_refused(world.silos["a"].admit_keys, small, altered)
        tried += 1
    assert tried > 780
    assert not reached


def test_altered_answers_are_refused_alike(world, query):
    generator = np.random.default_rng(6)
    found = world.answers(query)
    process, tried = world.own.process_id, 0
    for altered in (*structured(found["b"]), *mutated(found["b"], generator, 450)):
        assert_refused(world.asking.scores, query, {**found, "b": altered})
        tried += 1
    assert tried > 530
    assert world.own.process_id == process
    assert world.asking.scores(query, found).shape == (3, 20)


def test_signed_payloads_that_are_no_ciphertext_are_refused_and_the_worker_lives_on(world, query):
    """The authorised querier itself sends them: exact length, right hash, right signature."""
    terms, good = world.query_terms(), payload_of(query.envelope)
    process = world.worker.process_id
    for value in (b"\xff", b"\xf0"):
        payload = value * (len(good) - 64) + good[-64:]
        assert_refused(world.answer, "a", seal(payload, terms, world.querier, secrets.token_bytes(32)))
    for payload in (bytes(len(good)), good[:-64] + bytes(64), b"\x01" * len(good)):
        envelope = seal(payload, terms, world.querier, secrets.token_bytes(32))
        assert len(world.answer("a", envelope)) == HEADER_BYTES + world.answer_terms().length + 64
    assert world.worker.process_id == process


def test_signed_keys_that_are_no_keys_are_refused_and_the_worker_lives_on(world):
    """The sizes that crash the library's own loader have no place in a payload: only residues and seeds do."""
    epoch = KeyEpoch(world.querier.card, 9, (Layout(1, 1, 1),))
    terms, silo = epoch.keys_terms(), world.silos["a"]
    process = world.worker.process_id
    head = bytes.fromhex("5ea110040300000000") * 100
    garbage = b"\xff" * terms.length, bytes(terms.length - 72) + b"\xff" * 72, head + bytes(terms.length - 900)
    for payload in garbage:
        envelope = seal(payload, terms, world.querier, epoch.key_id(payload))
        assert_refused(silo.admit_keys, epoch, envelope)
    assert world.worker.process_id == process


def test_an_envelope_opens_under_its_terms_only():
    sender, other = Member("a"), Member("b")
    terms = Terms(Kind.QUERY, bytes(32), b"\1" * 32, b"\2" * 32, b"\3" * 32, 5)
    envelope = seal(b"hello", terms, sender, b"\4" * 32)
    opened = unseal(envelope, [terms], sender.card)
    assert (opened.payload, opened.message_id, opened.terms) == (b"hello", b"\4" * 32, terms)
    assert_refused(unseal, envelope, [], sender.card)
    assert_refused(unseal, envelope, [terms], other.card)
    assert_refused(unseal, envelope, [dataclasses.replace(terms, length=4)], sender.card)
    assert_refused(unseal, envelope, [terms], sender.card, message_id=bytes(32))
    with pytest.raises(EncryptionError, match="4 bytes where 5"):
        seal(b"hell", terms, sender, bytes(32))


def test_residues_survive_packing_and_too_large_ones_do_not():
    generator = np.random.default_rng(7)
    moduli = LINEAR.data_moduli
    polynomial = np.stack([generator.integers(0, modulus, 64, dtype=np.uint64) for modulus in moduli])
    packed = residues.pack(polynomial, moduli)
    assert len(packed) == residues.size(moduli, 64) == 64 * (7 + 5)
    assert np.array_equal(residues.unpack(packed, moduli, 64), polynomial)
    assert len(bytes(query_bytes(LINEAR))) == 8192 * 12 + 64
    polynomial[1, 9] = moduli[1]
    for bad in (residues.pack(polynomial, moduli), packed[:-1], packed + b"\0"):
        with pytest.raises(EncryptionError):
            residues.unpack(bad, moduli, 64)
