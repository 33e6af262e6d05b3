"""Sealed counts: the sum over all participants, and nothing short of it."""

from __future__ import annotations

import numpy as np
import pytest

from common.consortium import counts
from common.consortium.counts import OwnCounts, Totals, masked, total
from common.consortium.identity import Member
from common.consortium.messages import read_message, write_message
from common.errors import DisclosureError, EncryptionError
from tests.gallery_epochs import MEMBERS, names, opened

EPOCH = opened(names(8), entries=300)
ROWS = EPOCH.rows


def own(seed: int) -> OwnCounts:
    rng = np.random.default_rng(seed)
    patients = rng.integers(0, 6, ROWS) * (np.arange(ROWS) < 300)
    return OwnCounts(
        patients, (patients > 0).astype(int), (rng.random(ROWS) < 0.02).astype(int), np.minimum(patients, 1)
    )


OWN = {name: own(index) for index, name in enumerate(names(8))}
MESSAGES = {name: masked(OWN[name], MEMBERS[name], EPOCH) for name in names(8)}


def words(message: bytes, name: str) -> np.ndarray:
    """What a recipient sees of one message."""
    content = read_message(message, MEMBERS[name].card, purpose=counts._PURPOSE, context=EPOCH.digest)
    return np.frombuffer(content, "<u4")


def uniform(values: np.ndarray) -> bool:
    """A chi-squared test of all bytes: 255 degrees of freedom exceed 400 once in a hundred million."""
    seen = np.bincount(values.astype("<u4").view(np.uint8), minlength=256)
    expected = seen.sum() / 256
    return bool(((seen - expected) ** 2 / expected).sum() < 400)


def test_all_together_are_the_exact_sums() -> None:
    totals = total(EPOCH, MESSAGES)
    for field in ("patients", "vetoes", "alone"):
        expected = sum(getattr(part, field) for part in OWN.values())
        assert np.array_equal(getattr(totals, field), expected)
    assert np.array_equal(totals.silos, sum(part.holders for part in OWN.values()))


def test_one_message_looks_uniform() -> None:
    for name in names(8):
        assert uniform(words(MESSAGES[name], name))


@pytest.mark.parametrize("missing", names(8))
def test_a_sum_without_one_looks_uniform(missing: str) -> None:
    summed = sum((words(MESSAGES[name], name) for name in names(8) if name != missing), np.zeros(1, np.uint32))
    assert uniform(summed.astype(np.uint32))


def test_the_test_of_uniformity_tells_counts_from_noise() -> None:
    clear = np.concatenate(OWN[names(1)[0]]._parts()).astype(np.uint32)
    assert not uniform(clear)


def test_colluding_participants_learn_the_others_sum_and_no_part_of_it() -> None:
    # Six of eight put everything together: what is left of the other two is masked by their common key.
    others = names(8)[6:]
    first = words(MESSAGES[others[0]], others[0]).copy()
    for colluder in names(6):
        stream = counts._expanded(MEMBERS[colluder], MEMBERS[others[0]].card, EPOCH)
        before = others[0].encode() < colluder.encode()
        first = first - stream if before else first + stream
    assert uniform(first)


@pytest.mark.parametrize("missing", [1, 3])
def test_without_all_there_is_no_total_and_the_missing_are_named(missing: int) -> None:
    present = {name: MESSAGES[name] for name in names(8)[missing:]}
    with pytest.raises(DisclosureError, match=", ".join(names(missing))):
        total(EPOCH, present)


def refused(messages: dict[str, bytes], epoch: object = EPOCH) -> str:
    with pytest.raises(EncryptionError) as error:
        total(epoch, messages)  # type: ignore[arg-type]
    return str(error.value)


def test_every_refusal_is_the_same() -> None:
    first, second = names(2)
    other = opened(names(8), entries=300, number=2)
    stranger = Member(first)
    forged = write_message(bytes(16 * ROWS), stranger, purpose=counts._PURPOSE, context=EPOCH.digest)
    short = write_message(bytes(16 * ROWS - 4), MEMBERS[first], purpose=counts._PURPOSE, context=EPOCH.digest)
    purpose = write_message(bytes(16 * ROWS), MEMBERS[first], purpose="another", context=EPOCH.digest)
    unmasked = write_message(bytes(16 * ROWS), MEMBERS[first], purpose=counts._PURPOSE, context=EPOCH.digest)
    changed = bytearray(MESSAGES[first])
    changed[200] ^= 1
    said = {
        refused({**MESSAGES, first: hostile})
        for hostile in (
            MESSAGES[second],
            masked(OWN[first], MEMBERS[first], other),
            forged,
            short,
            purpose,
            unmasked,
            bytes(changed),
            b"",
        )
    }
    said.add(refused(MESSAGES, other))
    assert len(said) == 1


def test_a_silo_that_counted_for_another_epoch_spoils_the_sum_and_shows_nothing() -> None:
    other = opened(names(8), entries=300, number=2)
    first = names(1)[0]
    again = masked(OWN[first], MEMBERS[first], other)
    content = read_message(again, MEMBERS[first].card, purpose=counts._PURPOSE, context=other.digest)
    # The same counts twice, and yet the difference says nothing: each epoch has masks of its own.
    assert uniform(np.frombuffer(content, "<u4") - words(MESSAGES[first], first))


def test_masking_twice_in_one_epoch_would_show_the_difference() -> None:
    # Why the ledger stores the first message by the epoch's number.
    first = names(1)[0]
    again = masked(own(99), MEMBERS[first], EPOCH)
    shown = (words(again, first) - words(MESSAGES[first], first)).astype(np.int32)
    assert np.array_equal(shown[:ROWS], own(99).patients - OWN[first].patients)


def test_only_a_participant_counts_and_for_the_epochs_rows() -> None:
    outsider = MEMBERS[names(1, start=9)[0]]
    with pytest.raises(DisclosureError):
        masked(OWN[names(1)[0]], outsider, EPOCH)
    with pytest.raises(DisclosureError):
        masked(OWN[names(1)[0]], Member(names(1)[0]), EPOCH)
    with pytest.raises(DisclosureError, match="not the counts"):
        masked(OWN[names(1)[0]], MEMBERS[names(1)[0]], opened(names(8)))


@pytest.mark.parametrize(
    ("patients", "holders", "vetoes", "alone"),
    [
        ([-1], [1], [0], [0]),
        ([1 << 21], [1], [0], [0]),
        ([2], [0], [0], [0]),
        ([2], [2], [0], [0]),
        ([0], [1], [0], [0]),
        ([2], [1], [2], [0]),
        ([2], [1], [0], [3]),
        ([2, 3], [1], [0], [0]),
        ([[2]], [[1]], [[0]], [[0]]),
    ],
)
def test_counts_that_contradict_each_other_never_leave(
    patients: list[int], holders: list[int], vetoes: list[int], alone: list[int]
) -> None:
    with pytest.raises(DisclosureError, match="contradict"):
        OwnCounts(np.array(patients), np.array(holders), np.array(vetoes), np.array(alone))


def test_totals_keep_the_type_that_floors_compare() -> None:
    assert isinstance(total(EPOCH, MESSAGES), Totals)
    assert total(EPOCH, MESSAGES).patients.dtype == np.int64
