"""The roster is believed only with the pinned key's signature, and only as a continuation of what is held."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.consortium import words
from common.consortium.identity import Member
from common.consortium.roster import Roster, RosterMember, follows, read_roster, write_roster
from common.consortium.signed_file import MAX_BYTES, RefusedFile, Statement, read_signed, write_signed
from common.errors import ConfigError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PINNED = KEY.public_key().public_bytes_raw()


def entry(name: str, private: int) -> RosterMember:
    card = Member(name, bytes([private]) * 64).card
    return RosterMember(
        card, f"{private:064x}", f"Hospital {name}", f"faces@{name}.example", datetime.date(2026, 1, 2)
    )


EMPTY = Roster("trial", "relay.example:443", "a" * 64, "b" * 64)
ONE = EMPTY.succeeded_by([entry("west", 1)])
TWO = ONE.succeeded_by([*ONE.members, entry("east", 2)])


def test_a_roster_is_read_as_it_was_written() -> None:
    read = read_roster(write_roster(TWO, KEY), PINNED)
    assert read == TWO
    assert (read.sequence, read.previous, read.digest) == (3, ONE.digest, TWO.digest)
    assert [member.name for member in read.members] == ["east", "west"]
    assert read.member("west").card == Member("west", b"\1" * 64).card


def test_only_listed_keys_have_a_name() -> None:
    assert TWO.name_of(f"{2:064x}") == "east"
    assert TWO.name_of(f"{3:064x}") is None
    with pytest.raises(ConfigError, match="is no member"):
        TWO.member("north")


def test_every_altered_byte_is_refused() -> None:
    content = write_roster(TWO, KEY)
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        with pytest.raises(RefusedFile):
            read_roster(bytes(altered), PINNED)


def test_another_key_and_another_kind_are_refused() -> None:
    other = Ed25519PrivateKey.generate()
    with pytest.raises(RefusedFile):
        read_roster(write_roster(TWO, other), PINNED)
    statement = read_signed(write_roster(TWO, KEY), PINNED, kind="roster")
    with pytest.raises(RefusedFile):
        read_roster(write_signed(replace(statement, kind="registry"), KEY), PINNED)


def test_there_is_one_spelling_only() -> None:
    content = write_roster(ONE, KEY)
    fields = json.loads(content)
    for other in (
        json.dumps(fields).encode(),
        content + b" ",
        content.replace(b'"body"', b'"kind": "roster",\n "body"', 1),
        json.dumps({**fields, "more": 1}, indent=1, sort_keys=True).encode() + b"\n",
    ):
        with pytest.raises(RefusedFile):
            read_roster(other, PINNED)


def test_hostile_bytes_end_in_the_one_refusal() -> None:
    rng = np.random.default_rng(0)
    content = write_roster(TWO, KEY)
    hostile = [b"", b"null", b"[" * 100_000, b"9" * 5000, b'{"signature": 3}', b" " * (MAX_BYTES + 1)]
    for _ in range(300):
        start, length = rng.integers(0, len(content)), rng.integers(1, 40)
        hostile.append(content[:start] + rng.bytes(int(length)) + content[start + length :])
        hostile.append(content[: rng.integers(0, len(content))])
    for bytes_ in hostile:
        with pytest.raises(RefusedFile, match="the roster was refused"):
            read_roster(bytes_, PINNED)


def signed_body(**changes: object) -> bytes:
    body = dict(read_signed(write_roster(TWO, KEY), PINNED, kind="roster").body) | changes
    return write_signed(Statement("roster", body), KEY)


def listed(**changes: object) -> list[dict[str, object]]:
    body = read_signed(write_roster(TWO, KEY), PINNED, kind="roster").body
    first, second = body["members"]
    return [first, {**second, **changes}]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "West"},
        {"name": "a" * 41},
        {"name": "../west"},
        {"name": "-west"},
        {"name": "east"},
        {"name": "aaa"},
        {"title": "a\nb"},
        {"contact": "\x1b[2J@x"},
        {"verify_key": "00"},
        {"verify_key": Member("east", b"\2" * 64).card.verify_key.hex()},
        {"tls": f"{2:064x}"},
        {"tls": "A" * 64},
        {"joined": "yesterday"},
        {"unknown": 1},
    ],
)
def test_even_a_signed_roster_must_make_sense(changes: dict[str, object]) -> None:
    with pytest.raises(RefusedFile):
        read_roster(signed_body(members=listed(**changes)), PINNED)


def test_a_newer_format_asks_for_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.consortium.signed_file.VERSION", 2)
    newer = write_roster(ONE, KEY)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"version 2, .*this program reads 1: update phenofed"):
        read_roster(newer, PINNED)


def test_a_later_roster_is_accepted_even_when_some_between_were_missed() -> None:
    follows(EMPTY, TWO)
    follows(ONE, TWO)
    follows(TWO, TWO)


def test_an_older_roster_is_told_as_older() -> None:
    with pytest.raises(ConfigError, match="is older"):
        follows(TWO, ONE)


@pytest.mark.parametrize("further", [0, 1, 3])
def test_a_fork_is_refused_at_every_length(further: int) -> None:
    fork = EMPTY.succeeded_by([entry("intruder", 9)])
    for _ in range(further):
        fork = fork.succeeded_by(fork.members)
    with pytest.raises(ConfigError, match="does not continue"):
        follows(TWO, fork)
    with pytest.raises(ConfigError, match="does not continue"):
        follows(fork, TWO)


def test_another_consortium_never_follows() -> None:
    with pytest.raises(ConfigError, match="not of trial"):
        follows(TWO, replace(TWO, consortium="other"))


def test_both_ends_see_the_same_words_and_a_slip_is_noticed() -> None:
    fingerprint = ONE.members[0].card.fingerprint
    said = words.fingerprint_words(fingerprint)
    assert len(said.split()) == 12
    assert said != words.fingerprint_words(TWO.members[0].card.fingerprint)
    assert words.names(said.upper().replace(" ", "  "), fingerprint)
    assert words.names(fingerprint.hex(), fingerprint)
    first, second, *rest = said.split()
    assert not words.names(" ".join([second, first, *rest]), fingerprint)
    assert not words.names(" ".join([first, second, *rest][:-1]), fingerprint)
    assert not words.names(fingerprint.hex()[:32], fingerprint)
    assert not words.names("", fingerprint)
