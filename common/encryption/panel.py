"""Panels: silos whose sum alone is ever seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from common.consortium.identity import Card, Member
from common.errors import DisclosureError, EncryptionError

SMALLEST_PANEL = 3
"""Silos besides the querier's: of two, one colluding with the querier reveals the other."""


@dataclass(frozen=True)
class Panel:
    """The silos whose scores are summed, the querier they answer, and the gallery epoch.

    Attributes:
        members: sorted by the UTF-8 bytes of their names, whatever order they came in.
        smallest: silos that a panel must have; below ``SMALLEST_PANEL`` only in simulations.

    Raises:
        DisclosureError: too few silos, or the querier is one of them.
        EncryptionError: a name stands twice.
    """

    members: tuple[Card, ...]
    querier: Card
    gallery_epoch: str
    smallest: int = SMALLEST_PANEL

    def __post_init__(self) -> None:
        members = tuple(sorted(self.members, key=lambda card: card.name.encode()))
        object.__setattr__(self, "members", members)
        names = [card.name for card in members]
        if len(set(names)) != len(names):
            raise EncryptionError("a silo stands twice in a panel", remedy="name each silo once")
        if self.querier.name in names or self.querier.fingerprint in {card.fingerprint for card in members}:
            raise DisclosureError(
                f"{self.querier.name} asks a panel that it belongs to",
                remedy="leave it out; it scores its own patients in clear",
            )
        if len(members) < max(self.smallest, 1):
            raise DisclosureError(
                f"a panel of {len(members)} silos would show what a single one answered",
                remedy=f"rank over at least {self.smallest} silos besides the querier's"
                ", or simulate with profile='simulation'",
            )

    @property
    def digest(self) -> bytes:
        """(32 bytes) over members in order, querier and epoch."""
        digest = hashlib.sha256(b"phenofed panel 1")
        cards = (card.fingerprint for card in (self.querier, *self.members))
        for part in (self.gallery_epoch.encode(), *cards):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    def others(self, name: str) -> Iterable[tuple[int, Card]]:
        """(sign, card) of every other silo: +1 for those that come after ``name``, -1 for those before."""
        for card in self.members:
            if card.name != name:
                yield (1 if name.encode() < card.name.encode() else -1), card

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``from_json``."""
        return {
            "members": [card.to_json() for card in self.members],
            "querier": self.querier.to_json(),
            "gallery_epoch": self.gallery_epoch,
            "smallest": self.smallest,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Panel:
        """The panel that ``to_json`` described."""
        members = tuple(Card.from_json(card) for card in data["members"])
        return cls(members, Card.from_json(data["querier"]), data["gallery_epoch"], data["smallest"])


def pair_key(member: Member, other: Card, panel: Panel) -> bytes:
    """(32 bytes) the key that a member and ``other`` share for one panel.

    Raises:
        EncryptionError: the other's key is not a proper point.
    """
    return member.shared_key(other, purpose=b"phenofed pair 1", context=panel.digest)
