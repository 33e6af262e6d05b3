"""Sealed counts: how many patients stand behind each syndrome, readable only as a sum over all participants.

When a gallery epoch opens, each participant sends all others one vector. Each pair of participants shares a key
bound to the epoch, and expands it to uniform numbers modulo 2^32; the one whose name comes first adds them, the
other subtracts them. The sum over all participants is free of them; any other sum is uniformly random. After
Bonawitz et al., CCS 2017, without its recovery from dropouts: one vector short, and there is no total.

A silo must never mask two different counts for one epoch: whoever sees both subtracts them. So the vector is
stored before it is sent, by the epoch's number (client.ledger.ledger), and sent again as it is.

The sum holds what the silos say. One that lies makes it meaningless or lifts it; nobody learns another's counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from common.consortium.gallery_epoch import GalleryEpoch
from common.consortium.identity import Card, Member
from common.consortium.messages import read_message, write_message
from common.errors import DisclosureError, EncryptionError

Counts = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]

MOST_PATIENTS = 1 << 20
"""Of one syndrome at one silo."""

_PURPOSE = "sealed counts 1"


@dataclass(frozen=True)
class OwnCounts:
    """What one silo brings to each row of a gallery epoch.

    Attributes:
        patients: (S,) n_ks, those that the row is made of.
        holders: (S,) 1 where there is any.
        vetoes: (S,) 1 where the silo will not answer in this epoch.
        alone: (S,) those among ``patients`` who agreed to be a row of their own.

    Raises:
        DisclosureError: counts that contradict each other.
    """

    patients: Counts
    holders: Counts
    vetoes: Counts
    alone: Counts

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, np.asarray(getattr(self, field.name), dtype=np.int64))
        shape = self.patients.shape
        fits = len(shape) == 1 and all(part.shape == shape for part in self._parts())
        if not (fits and self._agree()):
            raise DisclosureError(
                "the counts of a gallery contradict each other", remedy="count the gallery's patients again"
            )

    def _parts(self) -> tuple[Counts, ...]:
        return self.patients, self.holders, self.vetoes, self.alone

    def _agree(self) -> bool:
        return bool(
            np.all((self.patients >= 0) & (self.patients <= MOST_PATIENTS))
            and np.all(self.holders == (self.patients > 0))
            and np.all((self.vetoes == 0) | (self.vetoes == 1))
            and np.all((self.alone >= 0) & (self.alone <= self.patients))
        )


@dataclass(frozen=True)
class Totals:
    """The consortium's sums, each (S,) int64: ``patients`` N_s, ``silos`` that hold any, ``vetoes``, ``alone``."""

    patients: Counts
    silos: Counts
    vetoes: Counts
    alone: Counts


def masked(own: OwnCounts, member: Member, epoch: GalleryEpoch) -> bytes:
    """The signed message for all others. Store it before sending it, and never make a second one.

    Raises:
        DisclosureError: this member has no part in the epoch, or the counts do not have its rows.
        EncryptionError: another member's key is not usable.
    """
    if epoch.card(member.card.name) != member.card or own.patients.shape != (epoch.rows,):
        raise DisclosureError(
            f"these are not the counts of a participant of gallery epoch {epoch.number}",
            remedy="count again for this epoch",
        )
    words = np.concatenate(own._parts()).astype(np.uint32)
    for other in epoch.participants:
        if other != member.card:
            stream = _expanded(member, other, epoch)
            first = member.card.name.encode() < other.name.encode()
            words = words + stream if first else words - stream
    return write_message(words.astype("<u4").tobytes(), member, purpose=_PURPOSE, context=epoch.digest)


def total(epoch: GalleryEpoch, messages: Mapping[str, bytes]) -> Totals:
    """The sums over all participants.

    Args:
        messages: by participant, this silo's own included.

    Raises:
        DisclosureError: a participant's message is missing; all missing names in one message.
        EncryptionError: a message is not its sender's for this epoch, or the sum is no count; one error for all.
    """
    missing = [card.name for card in epoch.participants if card.name not in messages]
    if missing:
        raise DisclosureError(
            f"counts of {', '.join(missing)} are missing in gallery epoch {epoch.number}",
            remedy="wait for them, or open an epoch without these silos",
        )
    words: Words = np.zeros(4 * epoch.rows, dtype=np.uint32)
    for card in epoch.participants:
        words = words + _read(messages[card.name], card, epoch)
    patients, silos, vetoes, alone = words.astype(np.int64).reshape(4, epoch.rows)
    participants = len(epoch.participants)
    if not (
        np.all(patients <= participants * MOST_PATIENTS)
        and np.all(silos <= np.minimum(patients, participants))
        and np.all((silos > 0) == (patients > 0))
        and np.all(vetoes <= participants)
        and np.all(alone <= patients)
    ):
        raise _refused()
    return Totals(patients, silos, vetoes, alone)


def _read(message: bytes, sender: Card, epoch: GalleryEpoch) -> Words:
    try:
        content = read_message(message, sender, purpose=_PURPOSE, context=epoch.digest)
    except EncryptionError:
        raise _refused() from None
    if len(content) != 16 * epoch.rows:
        raise _refused()
    return np.frombuffer(content, dtype="<u4").astype(np.uint32)


def _expanded(member: Member, other: Card, epoch: GalleryEpoch) -> Words:
    """(4 S,) what a pair's key for this epoch expands to: AES-256 in counter mode."""
    key = member.shared_key(other, purpose=b"phenofed counts 1", context=epoch.digest)
    # The key serves one stream only, so that the counter may start at zero.
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(16 * epoch.rows)), dtype="<u4").astype(np.uint32)


def _refused() -> EncryptionError:
    return EncryptionError(
        "the sealed counts were refused", remedy="check that all silos opened the same gallery epoch"
    )
