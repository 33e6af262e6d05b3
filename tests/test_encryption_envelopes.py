"""Sessions refuse what they did not agree on: replays, other keys, panels and layouts, and bytes that were
altered."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from types import SimpleNamespace

import numpy as np
import pytest

from common.consortium.identity import Member
from common.encryption import residues
from common.encryption.envelope import HEADER_BYTES, Kind, Terms, seal, unseal
from common.encryption.epoch import Epoch
from common.encryption.parameters import LINEAR
from common.encryption.querier_session import QuerierSession
from common.encryption.refusal import refused
from common.encryption.silo_session import AnswerStore, SiloSession
from common.encryption.sizes import answer_bytes, query_bytes
from common.encryption.worker import Worker
from common.errors import EncryptionError
from tests.encryption_panel import Layout, silo_panel, unit

LAYOUT = Layout(64, 20, 8)
REFUSED = str(refused())


@pytest.fixture(scope="module")
def world():
    """A panel of three silos, a querier and its session; one worker for the silos."""
    generator = np.random.default_rng(0)
    members, querier, epoch = silo_panel(["a", "b", "c"], [LAYOUT])
    rows = {name: unit(generator, 20, 64).astype(np.float64) / 3 for name in members}
    with Worker("querier") as own, Worker("silo") as worker:
        asking = QuerierSession(querier, epoch, own)

        def join(name, *, keys=asking.keys, at=epoch):
            return SiloSession(members[name], at, {LAYOUT: rows[name]}, worker, keys=keys)

        silos = {name: join(name) for name in members}
        yield SimpleNamespace(
            members=members, querier=querier, epoch=epoch, rows=rows, asking=asking, silos=silos,
            join=join, worker=worker, own=own, probes=unit(generator, 3, 64),
        )  # fmt: skip


@pytest.fixture
def query(world):
    return world.asking.ask(world.probes)


def answers(world, query):
    return {name: silo.answer(query.envelope) for name, silo in world.silos.items()}


def assert_refused(call, *arguments, **keywords):
    with pytest.raises(EncryptionError) as caught:
        call(*arguments, **keywords)
    assert str(caught.value) == REFUSED


def test_a_panel_of_sessions_gives_the_sum(world, query):
    scores = world.asking.scores(query, answers(world, query))
    assert scores == pytest.approx(world.probes @ sum(world.rows.values()).T, abs=1e-4)


def test_a_replayed_query_gets_the_same_bytes(world, query):
    assert world.silos["a"].answer(query.envelope) == world.silos["a"].answer(query.envelope)


def test_a_message_id_serves_one_query_only(world, query):
    world.silos["a"].answer(query.envelope)
    other = world.asking.ask(world.probes)
    message_id = query.envelope[HEADER_BYTES - 64 : HEADER_BYTES - 32]
    payload = other.envelope[HEADER_BYTES:-64]
    terms = world.epoch.query_terms(LAYOUT, world.asking._key_id)
    assert_refused(world.silos["a"].answer, seal(payload, terms, world.querier, message_id))


def test_an_answer_that_is_no_longer_stored_is_not_computed_again():
    store = AnswerStore(limit=250)
    for number in range(4):
        store.put(bytes([number]), bytes([number]), bytes(100))
    assert store.find(b"\3", b"\3") == bytes(100)
    assert store.find(b"\4", b"\4") is None
    assert_refused(store.find, b"\0", b"\0")
    assert_refused(store.find, b"\3", b"\2")


def test_answers_of_another_query_are_refused(world, query):
    earlier = world.asking.ask(world.probes)
    mixed = {**answers(world, query), "b": world.silos["b"].answer(earlier.envelope)}
    assert_refused(world.asking.scores, query, mixed)


def test_answers_count_only_from_the_silo_that_they_are_given_for(world, query):
    found = answers(world, query)
    assert_refused(world.asking.scores, query, {**found, "a": found["b"], "b": found["a"]})


def test_an_incomplete_panel_gives_nothing(world, query):
    found = answers(world, query)
    with pytest.raises(EncryptionError, match="no answer from b"):
        world.asking.scores(query, {name: found[name] for name in "ac"})


def test_a_sum_out_of_range_is_refused(world, query):
    """One silo signs noise: the sum decrypts to nothing that scores could be."""
    found = answers(world, query)
    terms = world.epoch.answer_terms(LAYOUT, world.asking._key_id)
    zeros = seal(bytes(terms.length), terms, world.members["c"], query.bound_to)
    assert_refused(world.asking.scores, query, {**found, "c": zeros})


def test_keys_of_another_querier_are_refused(world):
    stranger = Member("querier")
    panel = dataclasses.replace(world.epoch.panel, querier=stranger.card)
    theirs = Epoch(panel, world.epoch.layouts)
    payload = world.asking.keys[HEADER_BYTES:-64]
    for terms in (theirs.keys_terms(), world.epoch.keys_terms()):
        assert_refused(world.join, "a", keys=seal(payload, terms, stranger, theirs.key_id(payload)))


def test_keys_that_were_exchanged_under_the_signature_are_refused(world):
    payload = bytearray(world.asking.keys[HEADER_BYTES:-64])
    payload[100] ^= 1
    terms, key_id = world.epoch.keys_terms(), world.asking._key_id
    assert_refused(world.join, "a", keys=seal(bytes(payload), terms, world.querier, key_id))
    assert_refused(world.join, "a", keys=world.asking.keys[:HEADER_BYTES] + bytes(payload) + bytes(64))


def test_a_query_under_another_key_panel_layout_or_parameters_is_refused(world, query):
    payload = query.envelope[HEADER_BYTES:-64]
    terms = world.epoch.query_terms(LAYOUT, world.asking._key_id)
    other_panel = dataclasses.replace(world.epoch.panel, gallery_epoch="2")
    changes = [
        {"key_id": secrets.token_bytes(32)},
        {"panel": other_panel.digest},
        {"layout": Layout(64, 21, 8).digest},
        {"parameters": bytes(32)},
        {"kind": Kind.ANSWER},
    ]
    for change in changes:
        altered = dataclasses.replace(terms, **change)
        assert_refused(world.silos["a"].answer, seal(payload, altered, world.querier, secrets.token_bytes(32)))
    world.silos["a"].answer(seal(payload, terms, world.querier, secrets.token_bytes(32)))


def test_a_query_signed_by_another_member_is_refused(world, query):
    payload = query.envelope[HEADER_BYTES:-64]
    terms = world.epoch.query_terms(LAYOUT, world.asking._key_id)
    for sender in (world.members["b"], Member("querier")):
        assert_refused(world.silos["a"].answer, seal(payload, terms, sender, secrets.token_bytes(32)))


def test_a_signed_payload_of_another_length_is_refused(world, query):
    payload = query.envelope[HEADER_BYTES:-64]
    for other in (payload[:-1], payload + b"\0", b""):
        header = query.envelope[: HEADER_BYTES - 32] + hashlib.sha256(other).digest()
        assert_refused(world.silos["a"].answer, header + other + world.querier.sign(header))


def test_an_old_answer_is_refused_even_where_no_mask_would_show_it(world):
    """A simulation with one silo has no masks; the transcript alone tells its answers apart."""
    panel = dataclasses.replace(world.epoch.panel, members=(world.members["a"].card,), smallest=1)
    with Worker("querier") as own:
        epoch = Epoch(panel, world.epoch.layouts)
        asking = QuerierSession(world.querier, epoch, own)
        silo = world.join("a", keys=asking.keys, at=epoch)
        first, second = asking.ask(world.probes), asking.ask(world.probes)
        old, new = silo.answer(first.envelope), silo.answer(second.envelope)
        assert_refused(asking.scores, second, {"a": old})
        assert asking.scores(second, {"a": new}).shape == (3, 20)


def test_a_new_epoch_on_the_same_worker_leaves_the_old_one_as_it_is(world, query):
    later = Epoch(dataclasses.replace(world.epoch.panel, gallery_epoch="2"), world.epoch.layouts)
    with Worker("querier") as own:
        asking = QuerierSession(world.querier, later, own)
        silos = {name: world.join(name, keys=asking.keys, at=later) for name in world.members}
        asked = asking.ask(world.probes)
        found = asking.scores(asked, {name: silo.answer(asked.envelope) for name, silo in silos.items()})
    assert found == pytest.approx(world.asking.scores(query, answers(world, query)), abs=1e-4)


def test_a_silo_outside_the_panel_cannot_join(world):
    with pytest.raises(EncryptionError, match="not in the panel"):
        SiloSession(Member("d"), world.epoch, {}, world.worker, keys=world.asking.keys)


def structured(envelope):
    """Envelopes altered where it could matter: fields, lengths, order, emptiness."""
    header, payload, signature = envelope[:HEADER_BYTES], envelope[HEADER_BYTES:-64], envelope[-64:]
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


def test_altered_envelopes_are_refused_alike_and_never_reach_the_worker(world, query, monkeypatch):
    generator = np.random.default_rng(5)
    reached = []
    monkeypatch.setattr(world.worker, "call", lambda *parts: reached.append(parts))
    silo = world.silos["a"]
    tried = 0
    for altered in (*structured(query.envelope), *mutated(query.envelope, generator, 600)):
        assert altered != query.envelope
        assert_refused(silo.answer, altered)
        tried += 1
    assert tried > 650
    assert not reached


def test_altered_answers_are_refused_alike(world, query):
    generator = np.random.default_rng(6)
    found = answers(world, query)
    process = world.own.process_id
    for altered in (*structured(found["b"]), *mutated(found["b"], generator, 100)):
        assert_refused(world.asking.scores, query, {**found, "b": altered})
    assert world.own.process_id == process
    assert world.asking.scores(query, found).shape == (3, 20)


def test_signed_payloads_that_are_no_ciphertext_are_refused_and_the_worker_lives_on(world, query):
    """The authorised querier itself sends them: exact length, right hash, right signature."""
    terms = world.epoch.query_terms(LAYOUT, world.asking._key_id)
    good = query.envelope[HEADER_BYTES:-64]
    process = world.worker.process_id
    for value in (b"\xff", b"\xf0"):
        payload = value * (len(good) - 64) + good[-64:]
        assert_refused(world.silos["a"].answer, seal(payload, terms, world.querier, secrets.token_bytes(32)))
    for payload in (bytes(len(good)), good[:-64] + bytes(64), b"\x01" * len(good)):
        envelope = seal(payload, terms, world.querier, secrets.token_bytes(32))
        assert len(world.silos["a"].answer(envelope)) == HEADER_BYTES + answer_bytes(LAYOUT) + 64
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
    assert len(packed) == residues.size(moduli, 64) == 64 * (8 + 5)
    assert np.array_equal(residues.unpack(packed, moduli, 64), polynomial)
    assert len(bytes(query_bytes(LINEAR))) == 8192 * 13 + 64
    polynomial[1, 9] = moduli[1]
    for bad in (residues.pack(polynomial, moduli), packed[:-1], packed + b"\0"):
        with pytest.raises(EncryptionError):
            residues.unpack(bad, moduli, 64)
