"""A silo's session serves several queriers, key epochs and gallery epochs at once, and changes under load."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from common.consortium.identity import Member
from common.encryption.answers import MemoryAnswers
from common.encryption.closed_rows import closed_key, seal_closed
from common.encryption.envelope import HEADER_BYTES, SIGNATURE_BYTES, seal
from common.encryption.gallery_rows import GalleryRows
from common.encryption.key_epoch import KeyEpoch
from common.encryption.querier_session import QuerierSession
from common.encryption.sanitise import NOISE
from common.encryption.silo_session import SiloSession
from common.encryption.worker import Worker
from common.errors import DisclosureError, EncryptionError
from tests.encryption_consortium import (
    LAYOUT,
    NAMES,
    SEALED,
    WRAP,
    Consortium,
    assert_refused,
    message_id_of,
    payload_of,
)
from tests.encryption_panel import Layout


@pytest.fixture(scope="module")
def world():
    with Worker("querier") as own, Worker("silo") as worker:
        yield Consortium(own, worker)


def rows_of(world, name):
    return {LAYOUT: GalleryRows(world.rows[name])}


class Recording:
    """A worker that tells what it was asked, and lets a test step in before it answers."""

    def __init__(self, worker):
        self._worker, self.commands, self.before = worker, [], {}

    def __getattr__(self, name):
        return getattr(self._worker, name)

    def call(self, command, *parts, needs=()):
        self.commands.append(command)
        self.before.pop(command, lambda: None)()
        return self._worker.call(command, *parts, needs=needs)

    def setup(self, name, command, *parts):
        self.commands.append(command)
        return self._worker.setup(name, command, *parts)


@pytest.fixture
def silo(world):
    """Silo a on a recording worker, with an account of its own."""
    worker = Recording(world.worker)
    session = SiloSession(world.members["a"], worker)
    session.admit_keys(world.epoch, world.asking.keys)
    session.serve("1", rows_of(world, "a"), noise=NOISE)
    worker.commands.clear()
    session.worker, session.account = worker, MemoryAnswers()
    yield session
    session.retire("1")
    session.drop_keys(world.key_id)


def ask_silo(world, silo, query):
    return silo.answer(query.envelope, panel=query.panel, key_id=world.key_id, answers=silo.account)


def test_two_queriers_two_key_epochs_and_two_gallery_epochs_at_once(world):
    other = Member("other")
    panels = [world.panel, dataclasses.replace(world.panel, querier=other.card, gallery_epoch="2")]
    later = KeyEpoch(world.querier.card, 2, (Layout(64, 20, 1), LAYOUT))
    theirs = KeyEpoch(other.card, 1, (LAYOUT,))
    sessions = {name: world.join(name) for name in NAMES}
    for name, session in sessions.items():
        session.serve("2", {LAYOUT: GalleryRows(2 * world.rows[name])}, noise=NOISE)
    asking = [
        (world.asking, panels[0], 0, 1),
        (QuerierSession(world.querier, later, world.own, wrap=WRAP), panels[0], 1, 1),
        (QuerierSession(other, theirs, world.own, wrap=WRAP), panels[1], 0, 2),
    ]
    for session in sessions.values():
        session.admit_keys(later, asking[1][0].keys)
        session.admit_keys(theirs, asking[2][0].keys)

    def ranked(one):
        querier, panel, layout, factor = one
        query = querier.ask(world.probes, panel, layout)
        found = {
            name: session.answer(query.envelope, panel=panel, key_id=querier.key_id, answers=MemoryAnswers())
            for name, session in sessions.items()
        }
        return querier.scores(query, found) / factor

    with ThreadPoolExecutor(3) as pool:
        for scores in pool.map(ranked, asking * 2):
            assert scores == pytest.approx(world.expected(), abs=1e-4)


def test_a_gallery_is_prepared_once_for_all_queriers_and_key_epochs(world, silo):
    later = KeyEpoch(world.querier.card, 2, (LAYOUT,))
    asking = QuerierSession(world.querier, later, world.own, wrap=WRAP)
    key_id = silo.admit_keys(later, asking.keys)
    for querier in (world.asking, asking):
        query = querier.ask(world.probes, world.panel)
        silo.answer(query.envelope, panel=world.panel, key_id=querier.key_id, answers=silo.account)
    assert silo.worker.commands == [b"keys", b"answer", b"answer"]
    silo.drop_keys(key_id)


def test_a_query_under_one_key_epoch_is_no_query_under_another(world, silo):
    later = KeyEpoch(world.querier.card, 2, (LAYOUT,))
    key_id = silo.admit_keys(later, QuerierSession(world.querier, later, world.own, wrap=WRAP).keys)
    query = world.ask()
    assert_refused(silo.answer, query.envelope, panel=world.panel, key_id=key_id, answers=silo.account)
    assert ask_silo(world, silo, query)
    silo.drop_keys(key_id)


def test_unchanged_rows_are_not_prepared_again_for_the_next_gallery_epoch(world):
    with Worker("silo") as worker:
        silo = SiloSession(world.members["a"], worker)
        for epoch in ("1", "2"):
            silo.serve(epoch, rows_of(world, "a"), noise=NOISE)
        assert len(worker._kept) == 1
        silo.retire("1")
        silo.admit_keys(world.epoch, world.asking.keys)
        panel = world.panel_of("2")
        query = world.ask(panel)
        assert silo.answer(query.envelope, panel=panel, key_id=world.key_id, answers=MemoryAnswers())
        silo.retire("2")
        silo.drop_keys(world.key_id)
        assert not worker._kept


def test_a_restarted_worker_is_told_what_a_query_needs_and_no_more(world, silo):
    silo.serve("9", {LAYOUT: GalleryRows(3 * world.rows["a"])}, noise=NOISE)
    query = world.ask()
    os.kill(world.worker.process_id, signal.SIGKILL)
    with pytest.raises(EncryptionError, match="worker is gone"):
        ask_silo(world, silo, query)
    assert ask_silo(world, silo, query)
    assert len(world.worker._present) == 2
    silo.retire("9")


def test_dropped_keys_answer_no_more(world):
    silo = world.join("a")
    query = world.ask()
    assert silo.has_keys(world.key_id)
    silo.drop_keys(world.key_id)
    assert not silo.has_keys(world.key_id)
    refuse = {"panel": world.panel, "key_id": world.key_id, "answers": MemoryAnswers()}
    assert_refused(silo.answer, query.envelope, **refuse)
    silo.admit_keys(world.epoch, world.asking.keys)
    assert silo.answer(query.envelope, **refuse)


def test_rotated_keys_replace_the_oldest_and_never_go_back(world, silo):
    sessions = {
        number: QuerierSession(
            world.querier, KeyEpoch(world.querier.card, number, (LAYOUT,)), world.own, wrap=WRAP
        )
        for number in (2, 3)
    }
    for number, session in sessions.items():
        silo.admit_keys(KeyEpoch(world.querier.card, number, (LAYOUT,)), session.keys)
    assert [silo.has_keys(one.key_id) for one in (world.asking, *sessions.values())] == [False, True, True]
    assert_refused(silo.admit_keys, world.epoch, world.asking.keys)
    for session in sessions.values():
        silo.drop_keys(session.key_id)


def test_a_query_that_comes_twice_at_once_is_computed_and_charged_once(world, silo):
    query, count = world.ask(), 4
    silo.account = MemoryAnswers(budget=LAYOUT.queries)
    together = threading.Barrier(count)

    def answer(_):
        together.wait()
        return ask_silo(world, silo, query)

    with ThreadPoolExecutor(count) as pool:
        assert len(set(pool.map(answer, range(count)))) == 1
    assert silo.worker.commands == [b"answer"]
    assert not silo._queries


def test_a_message_id_serves_one_of_two_queries_that_come_at_once(world, silo):
    first, second = world.ask(), world.ask()
    twin = seal(payload_of(second.envelope), world.query_terms(), world.querier, message_id_of(first.envelope))

    def answer(envelope):
        try:
            return silo.answer(envelope, panel=world.panel, key_id=world.key_id, answers=silo.account)
        except EncryptionError:
            return None

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(answer, [first.envelope, twin]))
    assert found.count(None) == 1


def test_an_epoch_that_is_retired_while_a_query_is_computed_sends_nothing(world, silo):
    query = world.ask()
    silo.worker.before[b"answer"] = lambda: silo.retire("1")
    assert_refused(ask_silo, world, silo, query)
    assert_refused(ask_silo, world, silo, world.ask())
    assert not silo.account._answers


def test_keys_that_are_dropped_while_a_query_is_computed_answer_nothing(world):
    with Worker("silo") as own:
        worker, account = Recording(own), MemoryAnswers()
        silo = SiloSession(world.members["a"], worker)
        silo.admit_keys(world.epoch, world.asking.keys)
        silo.serve("1", rows_of(world, "a"), noise=NOISE)
        worker.before[b"answer"] = lambda: silo.drop_keys(world.key_id)
        query = world.ask()
        refuse = {"panel": world.panel, "key_id": world.key_id, "answers": account}
        assert_refused(silo.answer, query.envelope, **refuse)
        assert not account._answers


def test_an_epochs_gallery_cannot_be_exchanged(world, silo):
    with pytest.raises(EncryptionError, match="served already"):
        silo.serve("1", rows_of(world, "b"), noise=NOISE)


def test_a_second_panel_in_one_gallery_epoch_is_refused(world, silo):
    """An answer over {a, b, c, d} minus one over {a, b, c} would be d's."""
    ask_silo(world, silo, world.ask())
    wider = dataclasses.replace(world.panel, members=(*world.panel.members, Member("d").card))
    with pytest.raises(DisclosureError, match="second panel"):
        ask_silo(world, silo, world.ask(wider))


def test_another_gallery_epochs_query_and_answers_are_refused(world):
    other = world.panel_of("2")
    sessions = {name: world.join(name, epoch_id="2") for name in NAMES}
    query, later = world.ask(), world.ask(other)
    found = {
        name: session.answer(later.envelope, panel=other, key_id=world.key_id, answers=world.accounts[name])
        for name, session in sessions.items()
    }
    assert_refused(world.answer, "a", later.envelope)
    assert_refused(world.answer, "a", query.envelope, panel=other)
    assert_refused(world.asking.scores, query, {**world.answers(query), "b": found["b"]})
    assert_refused(world.asking.scores, dataclasses.replace(later, panel=world.panel), found)
    assert world.asking.scores(later, found) == pytest.approx(world.expected(), abs=1e-4)


class TestBudget:
    def test_a_query_over_budget_is_refused_before_anything_is_computed(self, world, silo):
        silo.account = MemoryAnswers(budget=2 * LAYOUT.queries)
        for _ in range(2):
            ask_silo(world, silo, world.ask())
        with pytest.raises(DisclosureError, match="0 are left"):
            ask_silo(world, silo, world.ask())
        assert silo.worker.commands == [b"answer"] * 2

    def test_a_batch_costs_every_lane_that_it_could_hold(self, world, silo):
        silo.account = MemoryAnswers(budget=LAYOUT.queries - 1)
        with pytest.raises(DisclosureError, match="needs 8 units and 7 are left"):
            ask_silo(world, silo, world.asking.ask(world.probes[:1], world.panel))

    def test_a_query_that_failed_is_not_charged_twice(self, world, silo):
        silo.account = MemoryAnswers(budget=LAYOUT.queries)
        query = world.ask()

        def fail():
            raise EncryptionError("the worker is gone")

        silo.worker.before[b"answer"] = fail
        with pytest.raises(EncryptionError, match="gone"):
            ask_silo(world, silo, query)
        assert ask_silo(world, silo, query)

    def test_an_answer_is_stored_before_it_leaves(self, world, silo):
        class Full(MemoryAnswers):
            def put(self, message_id, bound_to, answer):
                raise DisclosureError("the disk is full")

        silo.account = Full()
        with pytest.raises(DisclosureError, match="disk is full"):
            ask_silo(world, silo, world.ask())

    def test_an_answer_that_is_no_longer_stored_is_not_computed_again(self):
        account = MemoryAnswers(limit=250)
        for number in range(4):
            account.reserve(bytes([number]), bytes([number]), 1)
            account.put(bytes([number]), bytes([number]), bytes(100))
        assert account.find(b"\3", b"\3") == bytes(100)
        assert account.find(b"\4", b"\4") is None
        assert_refused(account.find, b"\0", b"\0")
        assert_refused(account.reserve, b"\0", b"\0", 1)
        assert_refused(account.find, b"\3", b"\2")


class TestClosedRows:
    @pytest.fixture
    def sessions(self, world):
        sessions = {name: world.join(name, epoch_id="closing") for name in NAMES}
        yield sessions
        for session in sessions.values():
            session.retire("closing")

    @pytest.fixture
    def panel(self, world):
        return world.panel_of("closing")

    def answers(self, world, sessions, query):
        return {
            name: session.answer(
                query.envelope, panel=query.panel, key_id=world.key_id, answers=world.accounts[name]
            )
            for name, session in sessions.items()
        }

    def test_rows_that_any_silo_closed_are_told_and_missing(self, world, sessions, panel):
        sessions["a"].close_rows("closing", [3])
        sessions["c"].close_rows("closing", [3, 19])
        query = world.ask(panel)
        scores = world.asking.scores(query, self.answers(world, sessions, query))
        assert scores == pytest.approx(world.expected(closed=[3, 19]), abs=1e-4, nan_ok=True)
        sessions["a"].close_rows("closing", [0])
        query = world.ask(panel)
        scores = world.asking.scores(query, self.answers(world, sessions, query))
        assert np.flatnonzero(np.isnan(scores[0])).tolist() == [0, 3, 19]

    def test_an_answer_is_as_long_whatever_is_closed_and_the_relay_sees_no_bit_of_it(self, world, sessions, panel):
        before = self.answers(world, sessions, world.ask(panel))["a"]
        sessions["a"].close_rows("closing", range(20))
        after = self.answers(world, sessions, world.ask(panel))["a"]
        assert len(before) == len(after)
        assert before[:HEADER_BYTES][:182] == after[:HEADER_BYTES][:182]
        place = slice(-SIGNATURE_BYTES - 19, -SIGNATURE_BYTES - 16)
        bits = [np.unpackbits(np.frombuffer(one[place], np.uint8)) for one in (before, after)]
        assert 0 < bits[0].sum() < 24
        assert 0 < bits[1].sum() < 24

    def test_a_closed_row_shows_nothing_even_to_the_key_holder(self, world, sessions, panel):
        """The querier's own code could skip the check; what it decrypts must not hold the score."""
        sessions["a"].close_rows("closing", [5])
        gallery = sessions["a"]._served["closing"].galleries[LAYOUT]
        assert not np.any(gallery.matrix[5])
        assert np.array_equal(np.delete(gallery.matrix, 5, 0), np.delete(world.rows["a"], 5, 0))

    def test_an_answer_under_way_when_a_row_closes_is_made_anew(self, world, sessions, panel):
        silo, worker = sessions["a"], Recording(world.worker)
        silo._worker = worker
        worker.before[b"answer"] = lambda: silo.close_rows("closing", [7])
        query = world.ask(panel)
        scores = world.asking.scores(query, self.answers(world, sessions, query))
        assert np.flatnonzero(np.isnan(scores[0])).tolist() == [7]

    def test_an_answer_from_before_a_row_closed_is_not_sent_again(self, world, sessions, panel):
        query = world.ask(panel)
        first = self.answers(world, sessions, query)
        assert self.answers(world, sessions, query) == first
        sessions["b"].close_rows("closing", [1])
        again = {"panel": panel, "key_id": world.key_id, "answers": world.accounts["b"]}
        assert_refused(sessions["b"].answer, query.envelope, **again)
        later = world.ask(panel)
        second = self.answers(world, sessions, later)
        assert self.answers(world, sessions, later) == second

    def test_rows_that_cannot_be_taken_out_stay_drowned(self, world, sessions, panel, monkeypatch):
        silo = sessions["a"]
        with monkeypatch.context() as broken:
            broken.setattr(world.worker, "setup", lambda *parts: (_ for _ in ()).throw(EncryptionError("gone")))
            with pytest.raises(EncryptionError, match="gone"):
                silo.close_rows("closing", [4])
        query = world.ask(panel)
        scores = world.asking.scores(query, self.answers(world, sessions, query))
        assert np.flatnonzero(np.isnan(scores[0])).tolist() == [4]

    def test_rows_and_epochs_that_are_not_served_cannot_be_closed(self, sessions):
        for rows in ([20], [-1]):
            with pytest.raises(EncryptionError, match="not in the gallery"):
                sessions["a"].close_rows("closing", rows)
        with pytest.raises(EncryptionError, match="not served"):
            sessions["a"].close_rows("never", [1])

    def test_closed_rows_cannot_be_forged_moved_or_left_out(self, world, sessions, panel):
        sessions["a"].close_rows("closing", [2])
        query, other = world.ask(panel), world.ask(panel)
        found, elsewhere = (self.answers(world, sessions, one) for one in (query, other))
        terms, size = world.answer_terms(panel), SEALED
        for name in "ab":
            good = payload_of(found[name])
            stolen = payload_of(elsewhere[name])[-size:]
            of_other_silo = payload_of(found["c"])[-size:]
            flipped = good[-size:-1] + bytes([good[-1] ^ 1])
            for closed in (stolen, of_other_silo, flipped, bytes(size)):
                forged = seal(good[:-size] + closed, terms, world.members[name], query.bound_to)
                assert_refused(world.asking.scores, query, {**found, name: forged})
        assert np.flatnonzero(np.isnan(world.asking.scores(query, found)[0])).tolist() == [2]

    def test_a_silo_that_hides_what_it_closed_gets_its_panel_refused(self, world, sessions, panel):
        """Noise that no bit announces is out of range: nobody is shown a score that is none."""
        query = world.ask(panel)
        sessions["a"].close_rows("closing", [2])
        found = self.answers(world, sessions, query)
        own = payload_of(found["a"])
        key = closed_key(world.members["a"], world.querier.card, query.bound_to)
        silent = own[:-SEALED] + seal_closed([], 20, key)
        forged = seal(silent, world.answer_terms(panel), world.members["a"], query.bound_to)
        assert_refused(world.asking.scores, query, {**found, "a": forged})
