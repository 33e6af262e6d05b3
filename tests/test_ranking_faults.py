"""Hospitals that vanish, refuse, overspend or repeat themselves: an answer comes, or says what is missing."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from client.ranking.answering import Answering
from common.errors import AgentError, DisclosureError, EncryptionError, PhenofedError, RelayError
from tests.agents import (
    ROWS,
    Hospitals,
    found_hospitals,
    hospitals,
    photo,
    scores_in_clear,
    set_policy,
    wait_until,
    write_small_release,
)

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
PICTURE = photo(5, ROWS[0])


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    """For tests that leave everybody as they were."""
    with hospitals(found_hospitals(tmp_path_factory.mktemp("c") / "c", NAMES), start=NAMES) as running:
        running.open_epoch()
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_hospitals(tmp_path_factory.mktemp("c") / "c", NAMES)


@pytest.fixture
def changed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    """A copy of its own; nobody is started."""
    with hospitals(made, tmp_path_factory.mktemp("c") / "c") as running:
        yield running


def assert_complete(consortium: Hospitals, asker: str) -> None:
    ranked = consortium.rank(asker, PICTURE)
    assert (ranked.missing, ranked.silent) == ((), {})
    clear = scores_in_clear(list(consortium.agents.values()), PICTURE)
    for row in ranked.rows:
        assert row.similarity == pytest.approx(clear[row.key], abs=1e-4)


class Meanwhile:
    """Lets a test do something while a silo handles a query."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, str, bytes, bytes]] = []
        self._actions: dict[str, object] = {}
        handle = Answering.handle

        def handled(answering: Answering, sender: str, topic: str, body: bytes) -> bytes:
            name = answering._name
            action = self._actions.pop(name, None) if topic == "query" else None
            if action is not None:
                action()
            reply = handle(answering, sender, topic, body)
            self.seen.append((name, topic, body, reply))
            return reply

        monkeypatch.setattr(Answering, "handle", handled)

    def once(self, name: str, action) -> None:
        self._actions[name] = action


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    return Meanwhile(monkeypatch)


def test_a_silo_that_dies_over_a_query_is_named_and_its_panel_gives_nothing(
    consortium: Hospitals, meanwhile: Meanwhile
) -> None:
    gamma = consortium.agents["gamma"]
    meanwhile.once("gamma", gamma.link.close)
    ranked = consortium.rank("alpha", PICTURE)
    assert ranked.silos == ("alpha",)
    assert ranked.missing == ("beta", "delta", "epsilon", "gamma")
    assert set(ranked.silent) == {"gamma"}
    assert "gamma is not connected" in ranked.silent["gamma"]
    clear = scores_in_clear([consortium.agents["alpha"]], PICTURE, counted=list(consortium.agents.values()))
    assert {row.key: row.similarity for row in ranked.rows} == pytest.approx(
        {key: value for key, value in clear.items() if key != ROWS[2]}, abs=1e-4
    )
    consortium.restart("gamma")
    assert_complete(consortium, "alpha")


def test_a_query_outlives_the_relay_and_is_charged_once(consortium: Hospitals, meanwhile: Meanwhile) -> None:
    beta, alpha = consortium.agents["beta"], consortium.agents["alpha"]
    assert_complete(consortium, "alpha")
    account = beta.workspace.roster().member("alpha").card, (ROWS[0],), beta.standing().floor
    left = beta.ledger.remaining(*account)

    def restart() -> None:
        consortium.stop_relay()
        wait_until(lambda: not beta.link.connected and not alpha.link.connected)
        consortium.start_relay()

    meanwhile.once("beta", restart)
    assert_complete(consortium, "alpha")
    assert beta.ledger.remaining(*account) == left - 1


def test_a_query_that_comes_again_gets_the_same_bytes_for_nothing(
    consortium: Hospitals, meanwhile: Meanwhile
) -> None:
    assert_complete(consortium, "delta")
    body, reply = next(
        (body, reply) for name, topic, body, reply in meanwhile.seen if (name, topic) == ("beta", "query")
    )
    for _ in range(2):
        beta = consortium.agents["beta"]
        account = beta.workspace.roster().member("delta").card, (ROWS[0],), beta.standing().floor
        left = beta.ledger.remaining(*account)
        assert beta._answering.handle("delta", "keys.known", _key_id(body)) == b"known"
        assert beta._answering.handle("delta", "query", body) == reply
        assert beta.ledger.remaining(*account) == left
        with pytest.raises(PhenofedError):
            beta._answering.handle("gamma", "query", body)
        consortium.restart("beta")


def _key_id(query_body: bytes) -> bytes:
    from common.encryption.envelope import claimed

    return claimed(query_body[64:])[0]


def test_a_killed_worker_costs_one_query(consortium: Hospitals) -> None:
    assert_complete(consortium, "alpha")
    for worker in (consortium.agents["beta"].workers._workers[0], consortium.agents["alpha"].keys._worker):
        process = worker._process
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda process=process: process.poll() is not None)
    with pytest.raises(EncryptionError) as refused:
        consortium.rank("alpha", PICTURE)
    assert "\n" not in str(refused.value)
    ranked = consortium.rank("alpha", PICTURE)
    assert set(ranked.silent) == {"beta"}
    assert_complete(consortium, "alpha")


def test_requests_that_no_silo_knows_are_refused_in_one_line(consortium: Hospitals) -> None:
    handle = consortium.agents["beta"]._answering.handle
    bodies = (b"", b"\xff" * 31, b"[]", b"{}", b'{"epoch": {}, "counts": 3}', b"[" * 100_000, bytes(200))
    topics = ("rank.tell-me", "epoch.check", "epoch.count", "epoch.open", "keys.bring", "query")
    for topic in topics:
        for body in bodies:
            with pytest.raises(PhenofedError) as refused:
                handle("alpha", topic, body)
            assert "\n" not in str(refused.value)
    assert handle("alpha", "epoch.newest", b"nonsense") == handle("alpha", "epoch.newest", b"0") != b""
    assert handle("alpha", "keys.known", b"nonsense") == b"unknown"
    with pytest.raises(AgentError, match="stranger is no member"):
        handle("stranger", "keys.known", bytes(32))


def test_what_is_over_budget_is_refused_before_it_is_sent_and_says_what_remains(
    consortium: Hospitals, meanwhile: Meanwhile
) -> None:
    alpha = consortium.agents["alpha"]
    lineages = consortium.agents["alpha"].epochs.require().lineages(alpha.standing())
    left = alpha.ledger.left_to_ask(lineages, alpha.standing().floor)
    embedding = np.ones((1, alpha.encoder.dimension), np.float32)
    with alpha.ledger.file.change() as rows:
        from client.ledger.spending import charge

        charge(rows, "own", lineages, left - 2, None, consortium.today)
    with pytest.raises(DisclosureError, match="3 units are asked and 2 of 128 remain"):
        alpha.querier.rank(np.repeat(embedding / np.linalg.norm(embedding), 3, axis=0))
    assert meanwhile.seen == []
    assert consortium.ask("alpha", "budget")["left_to_ask"] == 2


def test_silos_enforce_the_budget_themselves_whatever_a_querier_forgets(changed: Hospitals) -> None:
    for name in NAMES:
        set_policy(changed.folder / name, budget={"queries_a_year": 2})
    changed.start()
    changed.open_epoch()
    for _ in range(2):
        assert_complete(changed, "alpha")
    with pytest.raises(DisclosureError, match="0 of 2 remain"):
        changed.rank("alpha", PICTURE)
    changed.stop(*NAMES)
    with sqlite3.connect(changed.folder / "alpha" / "ledger.sqlite") as doctored:
        assert doctored.execute("DELETE FROM spent WHERE account = 'own'").rowcount == 1
    changed.start()
    ranked = changed.rank("alpha", PICTURE)
    assert ranked.silos == ("alpha",)
    assert set(ranked.silent) == set(NAMES) - {"alpha"}
    assert all("0 of 2 remain" in why for why in ranked.silent.values())


def test_three_hospitals_are_too_few(changed: Hospitals) -> None:
    changed.start("alpha", "beta", "gamma")
    with pytest.raises(DisclosureError, match="consortium of 3 silos has no panel"):
        changed.open_epoch()
    with pytest.raises(AgentError, match="no gallery epoch is open"):
        changed.rank("alpha", PICTURE)


def differing(folder: Path, what: str) -> None:
    if what == "policy":
        set_policy(folder, allow={"rank": False})
    elif what == "profile":
        set_policy(folder, profile="strict")
    elif what == "release":
        write_small_release(folder / "release", rounds=2)
    else:
        shutil.rmtree(folder / "cohort")


@pytest.mark.parametrize(
    ("what", "told", "own"),
    [
        ("policy", "takes no part in ranking", "policy forbids ranking"),
        ("profile", "below this silo's strict", "no gallery epoch is open"),
        ("release", "goes by release", "no gallery epoch is open"),
        ("patients", "no patients were imported", "no gallery epoch is open"),
    ],
)
def test_who_differs_is_left_out_and_named_and_the_others_rank(
    changed: Hospitals, what: str, told: str, own: str
) -> None:
    differing(changed.folder / "gamma", what)
    changed.start()
    opened = changed.ask("alpha", "epoch")
    assert set(opened["silos"]) == set(NAMES) - {"gamma"}
    assert list(opened["left_out"]) == ["gamma"]
    assert told in opened["left_out"]["gamma"]
    with pytest.raises(PhenofedError, match=own):
        changed.rank("gamma", PICTURE)
    changed.stop("gamma")
    assert_complete(changed, "alpha")


def test_too_few_who_agree_is_told_with_everybody_who_does_not(changed: Hospitals) -> None:
    for name in ("beta", "gamma"):
        write_small_release(changed.folder / name / "release", rounds=2)
    changed.start()
    with pytest.raises(DisclosureError, match=r"3 silos has no panel.*; left out: beta: g.* release .*; gamma: g"):
        changed.open_epoch()


def test_embeddings_of_another_release_are_never_ranked_against_the_gallery(changed: Hospitals) -> None:
    changed.start()
    changed.open_epoch()
    assert_complete(changed, "beta")
    changed.stop("beta")
    write_small_release(changed.folder / "beta" / "release", rounds=2)
    changed.start("beta")
    with pytest.raises(AgentError, match="another release"):
        changed.rank("beta", PICTURE)
    changed.stop("beta")
    write_small_release(changed.folder / "beta" / "release")
    changed.start("beta")
    assert_complete(changed, "beta")


def test_a_revoked_hospital_is_refused_at_once(changed: Hospitals) -> None:
    changed.start()
    changed.open_epoch()
    assert_complete(changed, "epsilon")
    changed.operate("revoke", changed.folder / "operator", "epsilon", "--yes")
    revoked = changed.agents["epsilon"]
    wait_until(lambda: not revoked.link.connected)
    with pytest.raises(AgentError, match="epsilon is no member"):
        changed.agents["beta"]._answering.handle("epsilon", "keys.known", bytes(32))
    with pytest.raises(RelayError, match="roster no longer lists it"):
        revoked._ask("beta", "query", b"", 5.0)
    ranked = changed.rank("alpha", PICTURE)
    assert set(ranked.silent) == {"epsilon"}
    # With the same release, an epoch without it would show what it alone had said.
    with pytest.raises(DisclosureError, match="hides the one that came or left"):
        changed.open_epoch()


def test_of_twelve_hospitals_with_one_down_those_of_complete_panels_rank(
    tmp_path_factory: pytest.TempPathFactory, meanwhile: Meanwhile
) -> None:
    names = [f"hospital-{number:02d}" for number in range(12)]
    with hospitals(found_hospitals(tmp_path_factory.mktemp("c") / "c", names)) as consortium:
        everybody = consortium.start()
        consortium.open_epoch()
        (panels,) = [consortium.ask(names[0], "status")["epoch"]["panels"]]
        assert sorted(len(panel) for panel in panels) == [3, 4, 4]
        broken = next(panel for panel in panels if names[5] in panel)
        consortium.stop(names[5])
        ranked = consortium.rank(names[0], PICTURE)
        assert ranked.missing == tuple(broken)
        assert set(ranked.silent) == {names[5]}
        assert ranked.silos == tuple(sorted(set(names) - set(broken)))
        # Nothing is asked, and charged, where it would be for nothing.
        assert {name for name, topic, *_ in meanwhile.seen if topic == "query"} == set(ranked.silos) - {names[0]}
        answering = [agent for agent in everybody if agent.workspace.name in ranked.silos]
        clear = scores_in_clear(answering, PICTURE, counted=everybody)
        del clear[ROWS[2]]
        assert {row.key: row.similarity for row in ranked.rows} == pytest.approx(clear, abs=1e-4)
