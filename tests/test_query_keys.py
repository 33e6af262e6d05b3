"""The hospital's query keys: made once, sealed at rest, kept over restarts, rotated and wiped on demand."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.ranking.answering import Answering
from common.encryption.sealed_keys import open_secret
from common.errors import EncryptionError
from tests.agents import ROWS, Hospitals, found_hospitals, hospitals, phenofed, photo

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    with hospitals(found_hospitals(tmp_path_factory.mktemp("c") / "c", NAMES), start=NAMES) as made:
        made.open_epoch()
        yield made


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What silos are asked, in order."""
    seen: list[str] = []
    handle = Answering.handle

    def handled(answering: Answering, sender: str, topic: str, body: bytes) -> bytes:
        seen.append(topic)
        return handle(answering, sender, topic, body)

    monkeypatch.setattr(Answering, "handle", handled)
    return seen


def ranked(consortium: Hospitals, asker: str = "alpha") -> None:
    found = consortium.rank(asker, photo(5, ROWS[0]))
    assert (found.missing, found.silent) == ((), {})
    assert found.rows[0].key == ROWS[0]


def shown(consortium: Hospitals) -> dict:
    return consortium.ask("alpha", "keys", action="show")["keys"]


def test_keys_are_brought_once_and_survive_the_restart_of_either_side(
    consortium: Hospitals, topics: list[str]
) -> None:
    ranked(consortium)
    assert topics.count("keys.bring") == 4
    before = shown(consortium)
    assert len(before["words"].split()) >= 12
    for restarted in (("alpha",), ("beta", "gamma"), NAMES):
        consortium.stop(*restarted)
        consortium.start()
        topics.clear()
        ranked(consortium)
        assert topics.count("query") == 4
        assert "keys.bring" not in topics
        assert shown(consortium) == before


def test_the_secret_key_lies_nowhere_in_clear(consortium: Hospitals) -> None:
    ranked(consortium)
    agent = consortium.agents["alpha"]
    sealed = agent.workspace.folder / "keys" / "secret.sealed"
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    used = agent.keys.in_use()
    assert used is not None
    secret = open_secret(sealed.read_bytes(), agent.workspace.wrap_key("query keys"), used.session.key_id)
    assert len(secret) > 10_000
    # Parts from its middle: its head is the format's.
    parts = [secret[at : at + 32] for at in range(len(secret) // 4, len(secret) - 64, len(secret) // 16)]
    for path in Path(consortium.folder).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(part in content for part in parts), path
    with pytest.raises(EncryptionError):
        open_secret(sealed.read_bytes(), agent.workspace.wrap_key("another purpose"), used.session.key_id)


def test_rotated_keys_are_new_and_silos_take_them(consortium: Hospitals, topics: list[str]) -> None:
    ranked(consortium)
    before = shown(consortium)
    done = phenofed("silo", "keys", consortium.folder / "alpha", "rotate", "--json")
    after = json.loads(done.stdout)
    assert after["number"] > before["number"]
    assert after["fingerprint"] != before["fingerprint"]
    topics.clear()
    ranked(consortium)
    assert topics.count("keys.bring") == 4


def test_wiped_keys_are_gone_and_the_next_question_makes_others(consortium: Hospitals) -> None:
    ranked(consortium)
    before, folder = shown(consortium), consortium.folder / "alpha" / "keys"
    assert "There are no query keys" in phenofed("silo", "keys", consortium.folder / "alpha", "wipe").output
    assert [path.name for path in folder.iterdir()] == ["epoch.json"]
    assert shown(consortium) is None
    ranked(consortium)
    assert shown(consortium)["number"] > before["number"]


def test_damaged_keys_are_never_replaced_unasked(consortium: Hospitals) -> None:
    ranked(consortium)
    sealed = consortium.folder / "alpha" / "keys" / "secret.sealed"
    consortium.stop("alpha")
    content = sealed.read_bytes()
    sealed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    consortium.start("alpha")
    with pytest.raises(EncryptionError, match="do not open"):
        consortium.rank("alpha", photo(5, ROWS[0]))
    assert sealed.read_bytes()[:-1] == content[:-1]
    consortium.ask("alpha", "keys", action="wipe")
    ranked(consortium)
