"""What another hospital, or whoever sits between, may send instead of questions and answers."""

from __future__ import annotations

import random
import secrets

import numpy as np
import pytest

from common.consortium.identity import Member
from common.encryption.answers import MemoryAnswers
from common.encryption.envelope import HEADER_BYTES, seal
from common.encryption.gram_layout import GramLayout
from common.encryption.gram_session import GramResponder
from common.encryption.gram_terms import PATIENTS_STEP, Pairing
from common.encryption.worker import Worker
from common.errors import EncryptionError
from tests.discovery_desk import DIMENSION, RELEASE, A, B, desks, two_hospitals


@pytest.fixture(scope="module")
def workers():
    with Worker("gram-asker") as asker, Worker("gram-responder") as responder:
        yield asker, responder


@pytest.fixture(scope="module")
def patients():
    return two_hospitals()


@pytest.fixture
def desk(tmp_path, workers):
    with desks(tmp_path, workers) as make:
        yield make


@pytest.fixture
def exchanged(desk, patients):
    both, (here, there) = desk(), patients
    asked = both.asker.ask(here.ids, here)
    return both, asked, both.responder.answer(asked.envelope, there), there


def test_mutated_envelopes_are_refused_alike(exchanged, workers):
    both, asked, answer, there = exchanged
    chance, before = random.Random(0), [worker.generation for worker in workers]
    reads = (
        (asked.envelope, lambda envelope: both.responder.answer(envelope, there)),
        (answer, lambda envelope: both.asker.links(asked, envelope)),
    )
    seen = set()
    for number in range(300):
        original, read = reads[number % 3 == 0]
        mutated = _mutate(original, chance)
        if mutated != original:
            seen.add(_refusal(read, mutated))
    assert len(seen) == 1
    assert [worker.generation for worker in workers] == before
    assert both.ledgers[1].discovery_remaining(A.card) == 13


def test_malformed_payloads_under_a_good_signature_are_refused_alike(exchanged, workers):
    both, asked, answer, there = exchanged
    pairing, rows = Pairing(A.card, B.card, RELEASE), len(asked.patients)
    forth = pairing.question_terms(GramLayout(DIMENSION, rows))
    back = pairing.answer_terms(GramLayout(DIMENSION, rows, PATIENTS_STEP), asked.question.key_id)
    before = [worker.generation for worker in workers]
    seen = {
        _refusal(_reader(workers, there), seal(content, forth, A, secrets.token_bytes(32)))
        for content in _spoilt(asked.envelope[HEADER_BYTES:-64], first_residue=8)
    }
    seen |= {
        _refusal(
            lambda envelope: both.asker.links(asked, envelope), seal(content, back, B, asked.question.bound_to)
        )
        for content in _spoilt(answer[HEADER_BYTES:-64], first_residue=8 + 16 * PATIENTS_STEP)
    }
    assert len(seen) == 1
    assert [worker.generation for worker in workers] == before


def test_answers_of_others_or_to_other_questions_are_refused(exchanged, patients):
    both, asked, answer, _ = exchanged
    here, _ = patients
    terms = Pairing(A.card, B.card, RELEASE).answer_terms(
        GramLayout(DIMENSION, len(asked.patients), PATIENTS_STEP), asked.question.key_id
    )
    payload, bound_to = answer[HEADER_BYTES:-64], asked.question.bound_to
    assert both.asker.links(asked, seal(payload, terms, B, bound_to))
    for forged in (seal(payload, terms, Member("hospital-b"), bound_to), seal(payload, terms, B, bytes(32))):
        with pytest.raises(EncryptionError, match="a message was refused"):
            both.asker.links(asked, forged)
    other = both.asker.ask(here.ids, here)
    with pytest.raises(EncryptionError, match="a message was refused"):
        both.asker.links(other, answer)


def test_a_question_of_another_release_is_refused(exchanged, workers):
    _, asked, _, there = exchanged
    with pytest.raises(EncryptionError, match="a message was refused"):
        _reader(workers, there, release=bytes(32))(asked.envelope)


def _reader(workers, there, *, release=RELEASE):
    """The responder's session without a budget."""
    session = GramResponder(B, A.card, release=release, worker=workers[1])
    names = [bytes(16)] * len(there.ids)
    return lambda envelope: session.answer(envelope, there.matrix, names, threshold=0.5, answers=MemoryAnswers())


def _refusal(read, envelope):
    with pytest.raises(EncryptionError) as caught:
        read(envelope)
    return str(caught.value)


def _mutate(content, chance):
    kind = chance.randrange(4)
    place = chance.randrange(len(content))
    if kind == 0:
        return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]
    if kind == 1:
        return content[:place]
    if kind == 2:
        return content + bytes(chance.randrange(1, 64))
    return content[:place] + secrets.token_bytes(16) + content[place + 16 :]


def _spoilt(payload, *, first_residue):
    """The right length, and wrong inside: thresholds nobody may ask for, residues above a prime."""
    thresholds = [np.array(value, ">f8").tobytes() for value in (0.1, 1.5, float("nan"))]
    spoilt = [head + payload[8:] for head in thresholds]
    one = payload[:first_residue] + b"\xff" * 8 + payload[first_residue + 8 :]
    return [*spoilt, payload[:8] + b"\xff" * (len(payload) - 8), one]
