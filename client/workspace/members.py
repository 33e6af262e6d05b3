"""Which members of the roster this silo deals with: the operator adds members, each hospital accepts them.

``members.json`` of the workspace holds the fingerprint of each card that was accepted. Those of the first roster
are accepted by the confirmation of that join, later ones by ``phenofed silo members accept``, unless the policy
says that it happens automatically. A member with a new card is a new member.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

from common.config import Settings
from common.consortium.fields import Hash, Name
from common.consortium.identity import Card
from common.consortium.roster import MAX_MEMBERS, Roster
from common.errors import AgentError, DisclosureError
from common.storage import write_bytes
from common.versions import refuse_newer

if TYPE_CHECKING:
    from client.workspace.policy import SiloPolicy
    from client.workspace.workspace import Workspace

FILE = "members.json"

_MAX_BYTES = 1 << 20


class Accepted:
    """What a workspace's ``members.json`` says; a workspace without one has accepted nobody.

    Raises:
        AgentError: the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._cards = self._read()

    def holds(self, card: Card) -> bool:
        """Whether this very card was accepted."""
        return self._cards.get(card.name) == card.fingerprint.hex()

    def knows(self, name: str) -> bool:
        """Whether a card of that name was accepted, perhaps another one."""
        return name in self._cards

    def accept(self, cards: Iterable[Card]) -> None:
        """Accept cards for good; each takes the place of an earlier card of its name."""
        self._cards |= {card.name: card.fingerprint.hex() for card in cards}
        content = _File(version=1, accepted=self._cards).model_dump(mode="json")
        write_bytes(self._path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode(), private=True)

    def _read(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
            if len(content) > _MAX_BYTES:
                raise ValueError("too long")
            refuse_newer(str(self._path), content, kind=AgentError)
            return dict(_File.model_validate_json(content).accepted)
        except (OSError, ValueError, ValidationError) as error:
            raise AgentError(
                f"{self._path} is damaged",
                remedy="move it away, then run phenofed silo members accept for each member",
            ) from error


def strangers_of(workspace: Workspace, policy: SiloPolicy, roster: Roster) -> frozenset[str]:
    """Names on the roster that the workspace's silo has not accepted; nobody where its policy accepts all.

    Raises:
        AgentError: members.json is damaged.
    """
    if policy.members == "automatic":
        return frozenset()
    return strangers(roster, Accepted(workspace.folder), workspace.name)


def check_accepted(name: str, among: frozenset[str]) -> None:
    """Check that a member is not ``among`` the strangers.

    Raises:
        DisclosureError: it is, and has to wait.
    """
    if name in among:
        raise DisclosureError(
            f"{name} was not accepted at this hospital", remedy=f"its IT runs phenofed silo members accept {name}"
        )


def strangers(roster: Roster, accepted: Accepted, own: str) -> frozenset[str]:
    """Names on the roster that this silo, ``own``, has not accepted with the card that they have now."""
    return frozenset(
        member.name for member in roster.members if member.name != own and not accepted.holds(member.card)
    )


class _File(Settings):
    version: Literal[1]
    accepted: Annotated[dict[Name, Hash], Field(max_length=10 * MAX_MEMBERS)]
