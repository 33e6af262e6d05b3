"""The roster: who belongs to the consortium, by card and TLS key, signed by its offline key.

A silo pins every other member's card from here, and the relay admits a TLS key only if it is listed. Adding or
revoking one member touches no other member's certificate.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, ValidationError

from common.config import Settings
from common.consortium.fields import Address, Contact, Hash, Name, Title
from common.consortium.identity import Card
from common.consortium.signed_file import Statement, check_follows, read_signed, refused, write_signed
from common.errors import ConfigError

KIND = "roster"
MAX_MEMBERS = 1000


@dataclass(frozen=True)
class RosterMember:
    """One member. ``tls``: SHA-256 of its TLS key's SubjectPublicKeyInfo (DER), 64 hexadecimal digits."""

    card: Card
    tls: str
    title: str
    contact: str
    joined: datetime.date

    @property
    def name(self) -> str:
        """Its roster name."""
        return self.card.name


@dataclass(frozen=True)
class Roster:
    """One version of the roster.

    ``relay``: host:port; ``relay_tls``: the SPKI hash of the relay's TLS key; ``ca``: SHA-256 of the certificate
    (DER) that issues all others; ``members``: in the order of their names' bytes; ``earlier``: see signed_file;
    ``release_key``: the Ed25519 key that signs releases, 64 hexadecimal digits, or None where there is none yet;
    ``former_ca``: while the root is being changed, the one before, which is trusted as well.
    """

    consortium: str
    relay: str
    relay_tls: str
    ca: str
    members: tuple[RosterMember, ...] = ()
    earlier: tuple[str, ...] = ()
    release_key: str | None = None
    former_ca: str | None = None

    @property
    def roots(self) -> tuple[str, ...]:
        """The roots that are trusted, newest first; one, save while it is being changed."""
        return (self.ca,) if self.former_ca is None else (self.ca, self.former_ca)

    @property
    def sequence(self) -> int:
        """Versions count from 1."""
        return self._statement.sequence

    @property
    def previous(self) -> str:
        """The digest of the version before, empty for the first."""
        return self._statement.previous

    @cached_property
    def digest(self) -> str:
        """(64 hexadecimal digits) what names this version."""
        return self._statement.digest

    def member(self, name: str) -> RosterMember:
        """The member of that name.

        Raises:
            ConfigError: there is none.
        """
        for member in self.members:
            if member.name == name:
                return member
        raise ConfigError(
            f"{name!r} is no member of {self.consortium}", remedy="see phenofed silo members for those who are"
        )

    def holds(self, name: str) -> bool:
        """Whether there is a member of that name."""
        return any(member.name == name for member in self.members)

    def name_of(self, tls: str) -> str | None:
        """Whose TLS key has this SPKI hash (64 hexadecimal digits); None where nobody's."""
        return next((member.name for member in self.members if member.tls == tls), None)

    def succeeded_by(self, members: Iterable[RosterMember]) -> Roster:
        """The next version, with these members."""
        ordered = tuple(sorted(members, key=lambda member: member.name.encode()))
        return replace(self, members=ordered, earlier=(*self.earlier, self.digest))

    def with_release_key(self, key: str) -> Roster:
        """The next version, whose members trust releases of ``key`` (64 hexadecimal digits) and no others."""
        return replace(self, release_key=key, earlier=(*self.earlier, self.digest))

    def with_relay(self, relay_tls: str) -> Roster:
        """The next version, whose relay has another TLS key."""
        return replace(self, relay_tls=relay_tls, earlier=(*self.earlier, self.digest))

    def with_roots(self, ca: str, former_ca: str | None = None) -> Roster:
        """The next version, in which these roots are trusted."""
        return replace(self, ca=ca, former_ca=former_ca, earlier=(*self.earlier, self.digest))

    @property
    def _statement(self) -> Statement:
        return Statement(KIND, _body(self), self.earlier)


def read_roster(content: bytes, pinned_key: bytes) -> Roster:
    """The roster in a file that the offline key ``pinned_key`` (32 bytes) signed.

    Raises:
        ConfigError: not signed by it, damaged, or written by a newer program.
    """
    statement = read_signed(content, pinned_key, kind=KIND)
    try:
        body = _Body.model_validate(statement.body)
        members = tuple(
            RosterMember(_card(entry), entry.tls, entry.title, entry.contact, entry.joined)
            for entry in body.members
        )
    except (ValidationError, ValueError) as error:
        raise refused(KIND) from error
    names = [member.name.encode() for member in members]
    keys = [key for member in members for key in (member.tls, member.card.verify_key, member.card.exchange_key)]
    roster = Roster(
        body.consortium,
        body.relay,
        body.relay_tls,
        body.ca,
        members,
        statement.earlier,
        body.release_key,
        body.former_ca,
    )
    if names != sorted(set(names)) or len(set(keys)) != len(keys) or roster.digest != statement.digest:
        raise refused(KIND)
    return roster


def write_roster(roster: Roster, key: Ed25519PrivateKey) -> bytes:
    """The signed file."""
    return write_signed(roster._statement, key)


def follows(old: Roster, new: Roster) -> None:
    """Check that ``new`` is ``old`` or came from it.

    Raises:
        ConfigError: it is another consortium's, older, or a fork.
    """
    if old.consortium != new.consortium:
        raise ConfigError(
            f"the roster is that of {new.consortium}, not of {old.consortium}", remedy="use another workspace"
        )
    check_follows(old._statement, new._statement)


class _Entry(Settings):
    name: Name
    verify_key: Hash
    exchange_key: Hash
    tls: Hash
    title: Title
    contact: Contact
    joined: datetime.date


class _Body(Settings):
    consortium: Name
    relay: Address
    relay_tls: Hash
    ca: Hash
    members: Annotated[tuple[_Entry, ...], Field(max_length=MAX_MEMBERS)]
    release_key: Hash | None = None
    former_ca: Hash | None = None


def _card(entry: _Entry) -> Card:
    return Card.from_json([entry.name, entry.verify_key, entry.exchange_key])


def _body(roster: Roster) -> dict[str, Any]:
    fields = {
        "consortium": roster.consortium,
        "relay": roster.relay,
        "relay_tls": roster.relay_tls,
        "ca": roster.ca,
        "members": [
            {
                "name": member.name,
                "verify_key": member.card.verify_key.hex(),
                "exchange_key": member.card.exchange_key.hex(),
                "tls": member.tls,
                "title": member.title,
                "contact": member.contact,
                "joined": member.joined.isoformat(),
            }
            for member in roster.members
        ],
    }
    # Left out where there is none, so that rosters from before there were such keys keep their digests.
    optional = {"release_key": roster.release_key, "former_ca": roster.former_ca}
    return fields | {key: value for key, value in optional.items() if value is not None}
