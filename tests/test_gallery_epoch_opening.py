"""Gallery epochs between agents: opened together, caught up with, kept over restarts, closed row by row."""

from __future__ import annotations

import base64
import datetime
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import client.agent
from client.ranking.answering import Answering
from client.ranking.open_epoch import OpenEpoch
from common.cohort.schema import Consent, Purpose
from common.consortium.counts import OwnCounts, masked, total
from common.consortium.gallery_epoch import GalleryEpoch
from common.consortium.identity import Card, Member
from common.errors import AgentError, DisclosureError, PhenofedError, RelayError
from tests.agents import (
    DAY,
    ROWS,
    Hospitals,
    found_hospitals,
    hospitals,
    import_patients,
    photo,
    scores_in_clear,
    usual_patients,
    wait_until,
)

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
PICTURE = photo(5, ROWS[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_hospitals(tmp_path_factory.mktemp("c") / "c", NAMES)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    """For tests that change no patients: each opens epochs of its own."""
    with hospitals(found_hospitals(tmp_path_factory.mktemp("c") / "c", NAMES), start=NAMES) as consortium:
        yield consortium


@pytest.fixture
def running(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    """Everybody is there, no epoch is open."""
    with hospitals(made, tmp_path_factory.mktemp("c") / "c", start=NAMES) as consortium:
        yield consortium


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """(silo, topic) of requests that do not get through."""
    kept: set[tuple[str, str]] = set()
    handle = Answering.handle

    def handled(answering: Answering, sender: str, topic: str, body: bytes) -> bytes:
        if (answering._name, topic) in kept:
            raise RelayError("lost on the way")
        return handle(answering, sender, topic, body)

    monkeypatch.setattr(Answering, "handle", handled)
    return kept


def ids(consortium: Hospitals) -> set[str | None]:
    currents = [agent.epochs.current for agent in consortium.agents.values()]
    return {current and current.epoch.id for current in currents}


def listed(consortium: Hospitals, asker: str = "beta") -> set[str]:
    ranked = consortium.rank(asker, PICTURE)
    assert ranked.missing == ()
    return {row.key for row in ranked.rows}


def cards_of(consortium: Hospitals) -> list[Card]:
    return [consortium.agents["alpha"].workspace.roster().member(name).card for name in NAMES]


def current(consortium: Hospitals, name: str) -> OpenEpoch:
    return consortium.agents[name].epochs.require()


def test_everybody_opens_the_same_epoch_with_the_true_sums(shared: Hospitals) -> None:
    assert shared.open_epoch(by="gamma") == 1
    assert len(ids(shared)) == 1
    totals = current(shared, "delta").totals
    assert totals.patients[:4].tolist() == [10, 5, 2, 4]
    assert totals.silos[:4].tolist() == [5, 5, 2, 1]
    assert not totals.vetoes.any()


def test_two_proposals_at_once_end_in_one_epoch(shared: Hospitals) -> None:
    at_once = threading.Barrier(2)
    asked = shared.agents["alpha"].proposer, shared.agents["epsilon"].proposer
    for proposer in asked:
        agreed = proposer._agreed

        def together(*args, agreed=agreed, proposer=proposer, **values):
            proposer._agreed = agreed
            epoch = agreed(*args, **values)
            at_once.wait(20)
            return epoch

        proposer._agreed = together
    with ThreadPoolExecutor(2) as pool:
        numbers = set(pool.map(lambda name: shared.open_epoch(by=name), ("alpha", "epsilon")))
    assert len(numbers) == 1
    assert len(ids(shared)) == 1


def test_a_silo_that_missed_the_opening_catches_up_and_serves(
    shared: Hospitals, lost: set[tuple[str, str]]
) -> None:
    lost.add(("delta", "epoch.open"))
    shared.open_epoch()
    lost.clear()
    assert len(ids(shared)) == 2
    assert set(shared.rank("alpha", PICTURE).silent) == {"delta"}
    shared.agents["delta"].proposer.learn(NAMES)
    assert len(ids(shared)) == 1
    listed(shared, "alpha")
    listed(shared, "delta")


def test_a_silo_that_was_away_learns_what_opened_and_waits(running: Hospitals) -> None:
    running.stop("epsilon")
    running.open_epoch()
    running.start("epsilon")
    running.agents["epsilon"].proposer.learn(NAMES)
    assert len(ids(running)) == 1
    with pytest.raises(DisclosureError, match="epsilon has no part"):
        running.rank("epsilon", PICTURE)
    assert running.open_epoch(by="epsilon") > 1
    assert current(running, "alpha").epoch.waiting == ("epsilon",)
    assert running.rank("epsilon", PICTURE).silos == ("alpha", "beta", "delta", "gamma")


def test_a_restart_serves_the_epoch_that_was_open(shared: Hospitals) -> None:
    shared.open_epoch()
    before = ids(shared)
    shared.stop(*NAMES)
    shared.start()
    assert ids(shared) == before
    listed(shared)


def test_proposals_that_fail_take_nothing_from_the_epoch_that_is_open(
    running: Hospitals, lost: set[tuple[str, str]]
) -> None:
    running.open_epoch()
    before, alpha = ids(running), running.agents["alpha"]
    alpha.proposer._pause = 0.01
    lost.add(("delta", "epoch.count"))
    with pytest.raises(AgentError, match="did not open: delta: lost on the way"):
        running.open_epoch()
    lost.clear()
    assert ids(running) == before
    clear = scores_in_clear(list(running.agents.values()), PICTURE)
    for row in running.rank("alpha", PICTURE).rows:
        assert row.similarity == pytest.approx(clear[row.key], abs=1e-4)
    withdraw(running, "alpha", "alpha-1")
    assert ROWS[0] not in listed(running)
    running.restart("alpha")
    assert ROWS[0] not in listed(running)
    assert running.open_epoch() > 2


def test_counts_are_given_once_for_a_number_and_the_same_after_a_restart(running: Hospitals) -> None:
    alpha = running.agents["alpha"]
    cards = cards_of(running)
    epoch = alpha.epochs.following(cards)
    body = alpha.proposer._body(epoch)
    given = running.agents["beta"]._answering.handle("alpha", "epoch.count", body)
    import_patients(running.folder / "beta", {"beta-1": ROWS[0]})
    running.restart("beta")
    assert running.agents["beta"]._answering.handle("alpha", "epoch.count", body) == given
    others = GalleryEpoch.opening(
        None, cards, **_grounds(epoch) | {"profile": "strict"}, entries=len(ROWS), number=epoch.number
    )
    other = alpha.proposer._body(others)
    with pytest.raises(DisclosureError, match="counts were given for another gallery epoch 1"):
        running.agents["beta"]._answering.handle("alpha", "epoch.count", other)
    assert running.agents["beta"]._answering.handle("alpha", "epoch.check", other) == b"2"
    assert running.open_epoch() == 2


def test_counts_are_not_given_so_that_their_difference_shows_one_silo(running: Hospitals) -> None:
    alpha, cards = running.agents["alpha"], cards_of(running)
    first = alpha.proposer._body(alpha.epochs.following(cards))
    running.agents["beta"]._answering.handle("alpha", "epoch.count", first)
    for restarted in (False, True):
        if restarted:
            running.restart("beta")
        without = alpha.proposer._body(alpha.epochs.following(cards[:4], at_least=2))
        for topic in ("epoch.check", "epoch.count"):
            with pytest.raises(DisclosureError, match="would show what a silo holds"):
                running.agents["beta"]._answering.handle("alpha", topic, without)
    assert running.open_epoch() == 2


def test_what_is_no_successor_is_refused(shared: Hospitals) -> None:
    alpha, beta = shared.agents["alpha"], shared.agents["beta"]._answering
    cards = cards_of(shared)
    stranger = Member("beta").card
    far = alpha.proposer._body(alpha.epochs.following(cards, at_least=2000))
    with pytest.raises(AgentError, match="leaves out too many"):
        beta.handle("alpha", "epoch.check", far)
    changed = [stranger if card.name == "beta" else card for card in cards]
    with pytest.raises(AgentError, match="beta with another card than the roster"):
        beta.handle("alpha", "epoch.check", alpha.proposer._body(alpha.epochs.following(changed)))
    without = [card for card in cards if card.name != "beta"]
    epoch = alpha.epochs.following(cards)
    smaller = GalleryEpoch.opening(None, without, **_grounds(epoch), entries=len(ROWS), number=epoch.number)
    with pytest.raises(DisclosureError, match="beta has no part"):
        beta.handle("alpha", "epoch.check", alpha.proposer._body(smaller))


def test_incomplete_and_forged_openings_are_refused(shared: Hospitals, lost: set[tuple[str, str]]) -> None:
    lost.update(("beta", topic) for topic in ("epoch.open", "epoch.newest"))
    shared.open_epoch()
    lost.clear()
    beta, whole = shared.agents["beta"].epochs, current(shared, "alpha").to_json()
    counts = whole["counts"]
    damaged = base64.b64encode(bytes([1]) + base64.b64decode(counts["gamma"])[1:]).decode()
    for changed in (
        {name: message for name, message in counts.items() if name != "gamma"},
        {**counts, "gamma": counts["delta"]},
        {**counts, "gamma": damaged},
        {**counts, "gamma": "no base64"},
        {},
    ):
        with pytest.raises(PhenofedError) as refused:
            beta.catch_up({**whole, "counts": changed})
        assert "\n" not in str(refused.value)
    with pytest.raises(PhenofedError):
        beta.catch_up({**whole, "epoch": {**whole["epoch"], "number": whole["epoch"]["number"] + 1}})
    assert len(ids(shared)) == 2
    beta.catch_up(whole)
    assert len(ids(shared)) == 1


def test_an_epoch_that_is_over_is_not_opened_again(shared: Hospitals) -> None:
    number = shared.open_epoch()
    first = current(shared, "alpha").to_bytes()
    for _ in range(2):
        shared.open_epoch()
    with pytest.raises(AgentError, match=f"gallery epoch {number} is over"):
        shared.agents["beta"]._answering.handle("alpha", "epoch.open", first)
    assert current(shared, "beta").epoch.number == number + 2
    listed(shared, "alpha")


def test_counts_that_this_silo_never_gave_and_strangers_open_nothing(shared: Hospitals) -> None:
    alpha, beta = shared.agents["alpha"], shared.agents["beta"].epochs
    before = ids(shared)
    epoch = alpha.epochs.following(cards_of(shared))
    zeros = OwnCounts(*(np.zeros(epoch.rows, np.int64) for _ in range(4)))
    members = {agent.workspace.name: agent.workspace.member() for agent in shared.agents.values()}
    counts = {name: masked(zeros, member, epoch) for name, member in members.items()}
    invented = OpenEpoch(epoch, counts, total(epoch, counts), alpha.standing().floor)
    with pytest.raises(AgentError, match="this silo never gave"):
        beta.open(invented.to_bytes())
    strangers = [Member(f"stranger-{number}") for number in range(4)]
    foreign = GalleryEpoch.opening(
        None, [member.card for member in strangers], **_grounds(epoch), entries=len(ROWS), number=900
    )
    counts = {member.card.name: masked(zeros, member, foreign) for member in strangers}
    with pytest.raises(AgentError, match="nobody known vouches"):
        beta.catch_up(OpenEpoch(foreign, counts, total(foreign, counts), alpha.standing().floor).to_json())
    assert ids(shared) == before


def _grounds(epoch: GalleryEpoch) -> dict:
    return {
        key: getattr(epoch, key) for key in ("roster", "registry", "release", "profile", "kernel", "dimension")
    }


def withdraw(consortium: Hospitals, name: str, *patients: str, new: tuple[str, ...] = ()) -> None:
    kept = usual_patients(name, NAMES.index(name)) | dict.fromkeys(new, ROWS[0])
    import_patients(consortium.folder / name, {key: value for key, value in kept.items() if key not in patients})
    consortium.agents[name].look_after()


def test_who_withdraws_closes_the_row_at_once_until_three_patients_changed(running: Hospitals) -> None:
    running.open_epoch()
    everything = {ROWS[0], ROWS[1], ROWS[3]}
    assert listed(running) == everything
    withdraw(running, "alpha", "alpha-1")
    for asker in ("alpha", "beta"):
        ranked = running.rank(asker, PICTURE)
        assert {row.key for row in ranked.rows} == everything - {ROWS[0]}
        assert ranked.withheld == 2
    for path in (running.folder / "alpha" / "gallery").iterdir():
        assert b"alpha-1" not in path.read_bytes() or path.name == "encodings.safetensors"
    running.open_epoch()
    assert current(running, "gamma").totals.vetoes[0] == 1
    assert listed(running) == everything - {ROWS[0]}
    withdraw(running, "alpha", "alpha-1", new=("alpha-8", "alpha-9"))
    running.open_epoch()
    assert listed(running) == everything
    clear = scores_in_clear(list(running.agents.values()), PICTURE)
    for row in running.rank("delta", PICTURE).rows:
        assert row.similarity == pytest.approx(clear[row.key], abs=1e-4)


def test_a_consent_that_expires_closes_its_row_the_day_after(running: Hospitals) -> None:
    until = Consent(purposes=frozenset({Purpose.MATCH}), expires=DAY)
    patients = usual_patients("gamma", 2)
    import_patients(
        running.folder / "gamma",
        patients,
        consent=lambda name: until if name == "gamma-3" else Consent(purposes=frozenset({Purpose.MATCH})),
    )
    running.open_epoch()
    running.agents["gamma"].look_after()
    assert ROWS[1] in listed(running)
    running.today = DAY + datetime.timedelta(days=1)
    running.agents["gamma"].look_after()
    assert ROWS[1] not in listed(running)


def test_an_agent_that_waits_notices_an_import_by_itself(
    running: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.open_epoch()
    monkeypatch.setattr(client.agent, "LOOK_SECONDS", 0.02)
    delta = running.agents["delta"]
    waiting = threading.Thread(target=delta.wait)
    waiting.start()
    kept = usual_patients("delta", 3)
    del kept["delta-3"]
    wait_until(lambda: delta.keeper.gallery(1).closed == frozenset())
    import_patients(running.folder / "delta", kept)
    wait_until(lambda: delta.keeper.gallery(1).closed == {1})
    running.ask("delta", "stop")
    waiting.join(20)
    assert not waiting.is_alive()
    wait_until(lambda: ROWS[1] not in listed(running))
