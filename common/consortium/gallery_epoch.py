"""A gallery epoch: what all silos agree on before they answer, and what every mask and count is bound to.

    epoch = GalleryEpoch.opening(None, cards, roster=..., registry=..., release=..., profile="standard", ...)
    received = GalleryEpoch.from_json(data)      # from another member
    check_successor(own_last_epoch, received)    # every silo, before it takes part

Whoever proposes an epoch chooses who is present and nothing else: groups and waiting silos follow, and each silo
computes them anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.consortium.groups import SMALLEST_GROUP, Arrangement, Groups, arrange
from common.consortium.identity import Card
from common.consortium.isolation import THREE, Span
from common.errors import DisclosureError, EncryptionError

MAX_SILOS = 256
MAX_PAST = 1024
MAX_RELEASES = 256
SMALLEST_ROWS, LARGEST_ROWS = 64, 32768

Past = tuple[tuple[str, Groups], ...]

_Name = Annotated[str, Field(min_length=1, max_length=128)]
_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Group = Annotated[list[_Name], Field(min_length=SMALLEST_GROUP, max_length=MAX_SILOS)]


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    number: Annotated[int, Field(ge=1, lt=2**31)]
    participants: Annotated[
        list[tuple[_Name, _Hex32, _Hex32]], Field(min_length=SMALLEST_GROUP, max_length=MAX_SILOS)
    ]
    groups: Annotated[list[_Group], Field(min_length=1, max_length=MAX_SILOS)]
    waiting: Annotated[list[_Name], Field(max_length=MAX_SILOS)]
    past: Annotated[
        list[tuple[_Hex32, Annotated[list[_Group], Field(max_length=MAX_PAST)]]], Field(max_length=MAX_RELEASES)
    ]
    roster: _Hex32
    registry: _Hex32
    release: _Hex32
    profile: Literal["strict", "standard", "open", "simulation"]
    kernel: Literal["linear", "quadratic"]
    dimension: Annotated[int, Field(ge=1, le=4096)]
    rows: Annotated[int, Field(ge=SMALLEST_ROWS, le=LARGEST_ROWS)]


@dataclass(frozen=True)
class GalleryEpoch:
    """One epoch.

    Attributes:
        number: grows from epoch to epoch, by one or more.
        participants: sorted by the UTF-8 bytes of their names; each stands in one group.
        groups: names; see common.consortium.panels.
        waiting: names of silos that are present and not summed yet.
        past: all earlier groups by release, in the order of their first use.
        roster, registry, release: SHA-256 as 64 hexadecimal digits.
        dimension: d of an embedding.
        rows: S, the registry's entries padded to a power of two.

    Raises:
        EncryptionError: a value out of range, or groups that do not divide the participants.
    """

    number: int
    participants: tuple[Card, ...]
    groups: Groups
    waiting: tuple[str, ...]
    past: Past
    roster: str
    registry: str
    release: str
    profile: str
    kernel: str
    dimension: int
    rows: int

    def __post_init__(self) -> None:
        try:
            _Written.model_validate(self.to_json())
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise _invalid(f"'{where}' is out of range") from None
        names = [card.name for card in self.participants]
        if names != sorted(set(names), key=str.encode) or len(
            {card.fingerprint for card in self.participants}
        ) != len(names):
            raise _invalid("participants are not sorted or not distinct")
        if sorted(name for group in self.groups for name in group) != sorted(names):
            raise _invalid("groups do not divide the participants")
        if set(self.waiting) & set(names) or len(set(self.waiting)) != len(self.waiting):
            raise _invalid("a silo waits and takes part, or waits twice")
        if any(len(set(group)) != len(group) for _, groups in self.past for group in groups):
            raise _invalid("a silo stands twice in an earlier group")
        if len({release for release, _ in self.past}) != len(self.past):
            raise _invalid("a release stands twice in the past")
        if self.rows & (self.rows - 1):
            raise _invalid("rows are no power of two")

    @property
    def digest(self) -> bytes:
        """(32 bytes) over everything that the epoch says."""
        written = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(b"phenofed gallery epoch 1" + written.encode()).digest()

    @property
    def id(self) -> str:
        """The number and 32 hexadecimal digits of the digest: what panels carry."""
        return f"{self.number}-{self.digest.hex()[:32]}"

    def card(self, name: str) -> Card:
        """The participant of that name.

        Raises:
            DisclosureError: it has no part in the epoch.
        """
        for card in self.participants:
            if card.name == name:
                return card
        raise DisclosureError(f"{name} has no part in gallery epoch {self.number}", remedy="ask in a later epoch")

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``from_json``."""
        return {
            "version": 1,
            "number": self.number,
            "participants": [tuple(card.to_json()) for card in self.participants],
            "groups": [list(group) for group in self.groups],
            "waiting": list(self.waiting),
            "past": [(release, [list(group) for group in groups]) for release, groups in self.past],
            **{key: getattr(self, key) for key in ("roster", "registry", "release", "profile", "kernel")},
            "dimension": self.dimension,
            "rows": self.rows,
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The epoch that ``to_json`` described; ``data`` may come from anybody.

        Raises:
            EncryptionError: it is none.
        """
        try:
            # Through JSON, so that lists and tuples are told apart as little as on the wire.
            written = _Written.model_validate_json(json.dumps(data))
        except (ValidationError, TypeError, ValueError, RecursionError):
            raise _invalid("it does not follow the format") from None
        values = written.model_dump(exclude={"version", "participants", "groups", "waiting", "past"})
        return cls(
            participants=tuple(Card.from_json(list(card)) for card in written.participants),
            groups=_tuples(written.groups),
            waiting=tuple(written.waiting),
            past=tuple((release, _tuples(groups)) for release, groups in written.past),
            **values,
        )

    @classmethod
    def opening(
        cls,
        previous: GalleryEpoch | None,
        present: Iterable[Card],
        *,
        roster: str,
        registry: str,
        release: str,
        profile: str,
        kernel: str,
        dimension: int,
        entries: int,
        number: int | None = None,
    ) -> Self:
        """The epoch that follows ``previous``, with the silos that are present.

        Args:
            entries: of the registry; ``rows`` is the power of two that holds them.

        Raises:
            DisclosureError: too few silos, or none that could be summed without isolating one.
        """
        cards = {card.name: card for card in present}
        arrangement, past = _following(previous, release, cards)
        return cls(
            number=number or (previous.number + 1 if previous else 1),
            participants=tuple(
                cards[name] for name in sorted((n for group in arrangement.groups for n in group), key=str.encode)
            ),
            groups=arrangement.groups,
            waiting=arrangement.waiting,
            past=past,
            roster=roster,
            registry=registry,
            release=release,
            profile=profile,
            kernel=kernel,
            dimension=dimension,
            rows=max(SMALLEST_ROWS, 1 << (entries - 1).bit_length()),
        )


def check_successor(previous: GalleryEpoch | None, new: GalleryEpoch) -> None:
    """Check that ``new`` may follow the epoch that this silo saw last, None for a silo's first.

    Raises:
        EncryptionError: it is not newer.
        DisclosureError: its groups are not those that follow, or they isolate a silo.
    """
    if previous is not None and new.number <= previous.number:
        raise EncryptionError(
            f"gallery epoch {new.number} is not newer than {previous.number}", remedy="open one with a new number"
        )
    if Span.of((*dict(new.past).get(new.release, ()), *new.groups)).fewest() < THREE:
        raise DisclosureError(f"gallery epoch {new.number} isolates a silo", remedy="refuse it")
    if previous is None:
        return
    present = [*(card.name for card in new.participants), *new.waiting]
    expected = _following(previous, new.release, present)
    if (Arrangement(new.groups, new.waiting), new.past) != expected:
        raise DisclosureError(
            f"the groups of gallery epoch {new.number} do not follow from epoch {previous.number}",
            remedy="fetch the epochs between, or refuse it",
        )


def _following(previous: GalleryEpoch | None, release: str, present: Iterable[str]) -> tuple[Arrangement, Past]:
    if previous is None:
        return arrange(present), ()
    history = dict(previous.past)
    before = history.get(previous.release, ())
    history[previous.release] = (*before, *(group for group in previous.groups if group not in before))
    own = history.get(release, ())
    groups = previous.groups if release == previous.release else _newest_apart(own)
    return arrange(present, groups=groups, past=own), tuple(history.items())


def _newest_apart(groups: Groups) -> Groups:
    """Where a release comes back: its newest groups that do not overlap."""
    chosen: list[tuple[str, ...]] = []
    for group in reversed(groups):
        if not any(set(group) & set(other) for other in chosen):
            chosen.append(group)
    return tuple(chosen)


def _tuples(groups: Iterable[Iterable[str]]) -> Groups:
    return tuple(tuple(group) for group in groups)


def _invalid(why: str) -> EncryptionError:
    return EncryptionError(f"a gallery epoch is not valid: {why}", remedy="open it anew with the same release")
