"""Questions between two hospitals: opt-in, rows spent for good, links and nothing else out of the worker."""

from __future__ import annotations

import dataclasses
import datetime
import json
import secrets

import numpy as np
import pytest

from client.discovery.asker import PatientQuestion
from client.discovery.unsolved import Unsolved
from common.cohort.schema import Consent, Patient, Purpose
from common.encryption.gram_session import GramAsker
from common.encryption.gram_terms import PATIENTS_STEP
from common.encryption.worker import Worker
from common.errors import DisclosureError, EncryptionError
from common.ranking.patients import Embeddings
from tests.discovery_desk import AGREED, DIMENSION, RELEASE, TODAY, A, B, cohort, desks, two_hospitals, unsolved
from tests.encryption_panel import unit


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


def test_similar_patients_are_linked_under_pseudonyms(desk, patients):
    both, (here, there) = desk(), patients
    asked = both.asker.ask(here.ids, here)
    links = both.asker.links(asked, both.responder.answer(asked.envelope, there))
    expected = here.matrix @ there.matrix.T
    found = {(link.patient, both.names[1].patient(A.card.name, link.theirs)): link.similarity for link in links}
    pairs = {("here-1", "there-3"): expected[1, 3], ("here-0", "there-2"): expected[0, 2]}
    assert found == {pair: pytest.approx(float(similarity), abs=0.006) for pair, similarity in pairs.items()}
    assert all(round(similarity, 2) == similarity for similarity in found.values())
    assert [link.similarity for link in links] == sorted((link.similarity for link in links), reverse=True)


@pytest.mark.parametrize(("own", "theirs"), [(0.9, 0.4), (0.4, 0.9)])
def test_the_higher_threshold_of_both_holds(desk, patients, own, theirs):
    both, (here, there) = desk(threshold=own, theirs=theirs), patients
    asked = both.asker.ask(here.ids, here)
    links = both.asker.links(asked, both.responder.answer(asked.envelope, there))
    assert [link.patient for link in links] == ["here-1"]


def test_nothing_below_the_threshold_leaves_the_key_holders_worker(desk, patients, workers):
    both, (here, there) = desk(threshold=0.9), patients
    question = both.asker.ask(here.ids, here).question
    answer = both.responder.answer(question.envelope, there)
    given = []

    class Tapped:
        def call(self, *parts, **options):
            given.append(workers[0].call(*parts, **options))
            return given[-1]

    both.asking._worker = Tapped()
    both.asking.links(question, answer)
    assert [len(json.loads(content)) for (content,) in given] == [1]
    with pytest.raises(EncryptionError, match="do not open"):
        both.asking.links(dataclasses.replace(question, threshold=0.3), answer)
    for threshold in (0.29, -1.0, float("nan")):
        with pytest.raises(EncryptionError, match="threshold"):
            both.asking.links(dataclasses.replace(question, threshold=threshold), answer)


def test_a_threshold_under_the_floor_is_refused_on_both_sides(desk, patients):
    here, there = patients
    with pytest.raises(DisclosureError, match=r"threshold of 0\.2"):
        desk(threshold=0.2).asker.ask(here.ids, here)
    both = desk(theirs=0.2)
    with pytest.raises(DisclosureError, match=r"threshold of 0\.2"):
        both.responder.answer(both.asker.ask(here.ids, here).envelope, there)


def test_a_hospital_that_did_not_opt_in_refuses(desk, patients):
    both, (here, there) = desk(allowed=False), patients
    with pytest.raises(DisclosureError, match="does not take part"):
        both.responder.answer(both.asker.ask(here.ids, here).envelope, there)
    assert both.rows[1].answers(A.card).find(bytes(32), bytes(32)) is None


def test_as_many_rows_as_an_embedding_is_long_are_refused_across_restarts(desk, patients):
    """With d independent rows the key holder would solve for every patient of the other hospital."""
    _, there = patients
    independent = np.linalg.qr(np.random.default_rng(1).normal(size=(DIMENSION, DIMENSION)))[0].astype(np.float32)
    answered = 0
    for start in range(0, DIMENSION * 2, 6):
        both = desk()
        rows = np.take(independent, range(start, start + 6), axis=0, mode="wrap")
        # The attacker keeps no record of its own.
        question = both.asking.ask(rows, 0.5)
        if answered + len(rows) > 16:
            with pytest.raises(DisclosureError, match="4 of 16 remain"):
                both.responder.answer(question.envelope, there)
        else:
            both.responder.answer(question.envelope, there)
            answered += len(rows)
    assert answered == 12


def test_the_asker_keeps_to_its_rows_before_it_sends(desk, patients):
    here, _ = patients
    both = desk()
    assert both.rows[0].rows_left(B.card) == 16
    both.asker.ask(here.ids, here)
    again = desk()
    assert again.rows[0].rows_left(B.card) == 13
    for _ in range(4):
        again.asker.ask(here.ids, here)
    with pytest.raises(DisclosureError, match="3 patients, and 1 may be compared with hospital-b"):
        again.asker.ask(here.ids, here)
    assert again.rows[0].rows_left(B.card) == 1


def test_more_than_sixteen_rows_are_refused_by_every_part(desk, workers):
    both = desk()
    many = unsolved("p", unit(np.random.default_rng(2), 17, DIMENSION))
    with pytest.raises(DisclosureError, match="17 patients"):
        both.asker.ask(many.ids, many)
    with pytest.raises(DisclosureError, match="17 patients"):
        both.asking.ask(many.matrix, 0.5)
    data = json.dumps({"rows": 17, "dimension": DIMENSION, "threshold": 0.5, "patients": 0}).encode()
    content = many.matrix.astype("<f8").tobytes()
    for worker, command in ((workers[0], b"ask"), (workers[1], b"answer")):
        with pytest.raises(EncryptionError, match="17 rows would reveal"):
            worker.call(command, data, content, bytes(32))


def test_a_question_that_comes_again_gets_the_same_bytes_and_costs_nothing(desk, patients):
    both, (here, there) = desk(), patients
    asked = both.asker.ask(here.ids, here)
    first = both.responder.answer(asked.envelope, there)
    later = desk()
    assert later.responder.answer(asked.envelope, there) == first
    assert later.ledgers[1].discovery_remaining(A.card) == 13


def test_a_question_outlives_its_hospitals_restart(desk, patients, workers):
    both, (here, there) = desk(), patients
    kept = json.loads(json.dumps(both.asker.ask(here.ids, here).to_json()))
    answer = both.responder.answer(PatientQuestion.from_json(kept).envelope, there)
    workers[0].close()
    assert len(desk().asker.links(PatientQuestion.from_json(kept), answer)) == 2


def test_a_question_under_another_wrap_key_does_not_open(desk, patients, workers):
    both, (here, there) = desk(), patients
    asked = both.asker.ask(here.ids, here)
    answer = both.responder.answer(asked.envelope, there)
    other = GramAsker(A, B.card, release=RELEASE, worker=workers[0], wrap=secrets.token_bytes(32))
    with pytest.raises(EncryptionError, match="do not open"):
        other.links(asked.question, answer)


def test_an_answer_does_not_say_how_many_patients_were_compared(desk, patients):
    both, (here, there) = desk(), patients
    asked = both.asker.ask(here.ids[:1], here)
    few = both.responder.answer(asked.envelope, there)
    nobody = unsolved("q", unit(np.random.default_rng(3), 0, DIMENSION))
    many = unsolved("q", unit(np.random.default_rng(3), PATIENTS_STEP, DIMENSION))
    sizes = {len(few)}
    sizes.add(len(both.responder.answer(both.asker.ask(here.ids[:1], here).envelope, many)))
    assert len(sizes) == 1
    empty = both.asker.ask(here.ids[:1], here)
    assert both.asker.links(empty, both.responder.answer(empty.envelope, nobody)) == []


def test_only_unsolved_patients_who_agreed_are_compared(desk):
    expired = Consent(purposes=frozenset({Purpose.DISCOVER}), expires=TODAY - datetime.timedelta(days=1))
    match = Consent(purposes=frozenset({Purpose.MATCH, Purpose.TRAIN, Purpose.DISPLAY}))
    everyone = cohort(
        Patient(id="agreed", photos=(), consent=AGREED),
        Patient(id="solved", photos=(), consent=AGREED, syndrome="OMIM:1"),
        Patient(id="expired", photos=(), consent=expired),
        Patient(id="other purposes", photos=(), consent=match),
        Patient(id="without a photo", photos=(), consent=AGREED),
    )
    ids = tuple(patient.id for patient in everyone.patients[:-1])
    chosen = Unsolved(everyone, Embeddings(ids, unit(np.random.default_rng(4), len(ids), DIMENSION)), on=TODAY)
    assert chosen.ids == ("agreed",)
    both = desk()
    for hostile in (["solved"], ["expired"], ["agreed", "other purposes"], ["agreed", "agreed"]):
        with pytest.raises(DisclosureError, match="may not be compared"):
            both.asker.ask(hostile, chosen)
    assert both.rows[0].rows_left(B.card) == 16
