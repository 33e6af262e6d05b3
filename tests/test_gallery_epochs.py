"""Gallery epochs: everything bound, hostile ones refused, and each the only successor of the one before."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
from typing import Any

import pytest

from common.consortium.gallery_epoch import GalleryEpoch, check_successor
from common.consortium.panels import divide
from common.errors import DisclosureError, EncryptionError, PhenofedError
from tests.gallery_epochs import MEMBERS, NEXT_RELEASE, names, opened

FIRST = opened(names(12))
SECOND = opened(names(16), FIRST)


def test_an_epoch_survives_the_wire() -> None:
    third = opened(names(15), SECOND, release=NEXT_RELEASE)
    for epoch in (FIRST, SECOND, third):
        again = GalleryEpoch.from_json(json.loads(json.dumps(epoch.to_json())))
        assert again == epoch
        assert again.id == epoch.id == f"{epoch.number}-{epoch.digest.hex()[:32]}"


@pytest.mark.parametrize(
    "changed",
    [
        {"number": 9},
        {"roster": "aa" * 32},
        {"registry": "aa" * 32},
        {"release": "aa" * 32},
        {"profile": "strict"},
        {"kernel": "quadratic"},
        {"dimension": 9},
        {"rows": 128},
        {"waiting": ("somebody",)},
        {"past": (("aa" * 32, FIRST.groups),)},
        {"groups": (tuple(names(12)),)},
    ],
)
def test_the_id_covers_everything_that_an_epoch_says(changed: dict[str, Any]) -> None:
    assert dataclasses.replace(FIRST, **changed).digest != FIRST.digest


def test_the_id_covers_the_keys_of_every_participant() -> None:
    imposter = dataclasses.replace(FIRST.participants[0], verify_key=bytes(32))
    changed = dataclasses.replace(FIRST, participants=(imposter, *FIRST.participants[1:]))
    assert changed.digest != FIRST.digest


@pytest.mark.parametrize(("entries", "rows"), [(1, 64), (64, 64), (65, 128), (300, 512), (512, 512)])
def test_rows_are_padded_so_that_small_changes_of_the_registry_do_not_show(entries: int, rows: int) -> None:
    assert opened(names(4), entries=entries).rows == rows


def hostile() -> list[tuple[str, Any]]:
    """Changes of a valid epoch, each by path and value."""
    long = [[f"h{n}" for n in range(257)]]
    return [
        ("version", 2),
        ("number", 0),
        ("number", 2**31),
        ("number", "1"),
        ("number", 1.0),
        ("number", True),
        ("participants", []),
        ("participants", FIRST.to_json()["participants"][:3]),
        ("participants", FIRST.to_json()["participants"][::-1]),
        ("participants", [FIRST.to_json()["participants"][0]] * 12),
        ("participants", [["x", "00", "11"]] * 12),
        ("groups", []),
        ("groups", [names(12)[:3], names(12)[3:]]),
        ("groups", [names(12)[:4], names(12)[4:8]]),
        ("groups", [names(12), names(12)]),
        ("groups", [[names(1)[0]] * 12]),
        ("groups", long),
        ("waiting", [names(1)[0]]),
        ("waiting", ["x", "x"]),
        ("waiting", [""]),
        ("waiting", ["\ud800"]),
        ("waiting", ["x" * 129]),
        ("past", [["ab" * 32, [["a", "a", "b", "c"]]]]),
        ("past", [["ab" * 32, []], ["ab" * 32, []]]),
        ("past", [["ab" * 32, [list("abcd")] * 1025]]),
        ("roster", "AB" * 32),
        ("release", "ab" * 32 + "\n"),
        ("profile", "none"),
        ("kernel", "rbf"),
        ("dimension", 0),
        ("dimension", 1 << 40),
        ("dimension", float("nan")),
        ("rows", 32),
        ("rows", 100),
        ("rows", 1 << 20),
        ("surprise", 1),
    ]


@pytest.mark.parametrize(("key", "value"), hostile())
def test_a_hostile_epoch_is_one_clear_error(key: str, value: Any) -> None:
    data = FIRST.to_json()
    data[key] = value
    with pytest.raises(EncryptionError, match="a gallery epoch is not valid"):
        GalleryEpoch.from_json(data)


@pytest.mark.parametrize("data", [None, 3, "epoch", [], {}, [FIRST.to_json()], {1: 2}, {"version": {}}])
def test_what_is_no_epoch_at_all_is_refused(data: object) -> None:
    with pytest.raises(EncryptionError, match="a gallery epoch is not valid"):
        GalleryEpoch.from_json(data)


def test_random_damage_is_refused_or_changes_the_id() -> None:
    rng = random.Random(5)
    values = [None, -1, "", [], {}, 2**70, "x" * 200, [[]], 1e300]

    def damage(data: Any) -> Any:
        if isinstance(data, dict) and rng.random() < 0.9:
            key = rng.choice(sorted(data))
            return {**data, key: damage(data[key])}
        if isinstance(data, list) and data and rng.random() < 0.8:
            place = rng.randrange(len(data))
            return [*data[:place], damage(data[place]), *data[place + 1 :]]
        return rng.choice(values)

    original = json.loads(json.dumps(SECOND.to_json()))
    for _ in range(500):
        damaged = damage(copy.deepcopy(original))
        try:
            epoch = GalleryEpoch.from_json(damaged)
        except EncryptionError:
            continue
        assert (epoch.digest == SECOND.digest) == (damaged == original)


def test_an_honest_successor_is_accepted() -> None:
    check_successor(None, FIRST)
    check_successor(FIRST, SECOND)
    check_successor(FIRST, opened(names(12), FIRST, number=7))
    check_successor(FIRST, opened(names(13), FIRST, release=NEXT_RELEASE))


@pytest.mark.parametrize("number", [1, 2])
def test_an_epoch_that_is_not_newer_is_refused(number: int) -> None:
    with pytest.raises(EncryptionError, match="not newer"):
        check_successor(SECOND, opened(names(12), number=number))


def test_groups_that_do_not_follow_are_refused() -> None:
    # Regrouped by whoever proposes it, so that a silo stands with three of its choice.
    swapped = [list(group) for group in SECOND.groups]
    swapped[0][0], swapped[1][0] = swapped[1][0], swapped[0][0]
    regrouped = dataclasses.replace(SECOND, groups=tuple(tuple(group) for group in swapped))
    with pytest.raises(DisclosureError):
        check_successor(FIRST, regrouped)


def test_a_past_that_was_left_out_is_refused() -> None:
    with pytest.raises(DisclosureError, match="do not follow"):
        check_successor(FIRST, dataclasses.replace(SECOND, past=()))


def test_a_newcomer_who_is_not_made_to_wait_is_refused() -> None:
    waits = opened(names(13), FIRST)
    newcomer = MEMBERS[waits.waiting[0]].card
    let_in = dataclasses.replace(
        waits,
        participants=(*waits.participants, newcomer),
        groups=(*waits.groups[:2], (*waits.groups[2], newcomer.name)),
        waiting=(),
    )
    with pytest.raises(DisclosureError, match="isolates a silo"):
        check_successor(FIRST, let_in)
    with pytest.raises(DisclosureError, match="isolates a silo"):
        check_successor(None, let_in)
    with pytest.raises(DisclosureError, match="isolate"):
        divide(let_in, let_in.groups[0][0], FIRST)


def test_over_random_histories_every_epoch_is_the_only_successor_of_the_one_before() -> None:
    for seed in range(6):
        rng, epoch = random.Random(seed), FIRST
        for _ in range(6):
            present = rng.sample(names(16), rng.randrange(9, 17))
            try:
                following = opened(sorted(present), epoch)
            except DisclosureError:
                continue
            check_successor(epoch, following)
            for querier in present:
                divide(following, querier, epoch)
            epoch = following


def test_every_refusal_is_an_error_that_the_command_line_can_tell() -> None:
    for key, value in hostile():
        with pytest.raises(PhenofedError) as refusal:
            GalleryEpoch.from_json({**FIRST.to_json(), key: value})
        assert "\n" not in str(refusal.value)
        assert refusal.value.remedy
