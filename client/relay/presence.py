"""Who can be reached through the relay now, and since when somebody cannot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from common.transport.notices import MAX_NAMES
from common.versions import BEFORE, Hello


@dataclass
class Presence:
    """Changed and read under the link's lock; times are the link's clock.

    Args:
        since: when the state of the own connection last changed.
        why_not: what is wrong with the connection; None while nothing is known yet.
        is_final: whether waiting cannot mend it.
    """

    since: float
    connected: bool = False
    why_not: str | None = None
    is_final: bool = False
    members: frozenset[str] = frozenset()
    _hellos: dict[str, Hello] = field(default_factory=dict)
    _left: dict[str, float] = field(default_factory=dict)

    def tell(self, members: Iterable[str], now: float) -> None:
        """The relay told who is there, which it does first of all on a new stream."""
        fresh = frozenset(members)
        if not self.connected:
            self.connected, self.why_not, self.is_final, self.since = True, None, False, now
        self._left |= dict.fromkeys(self.members - fresh, now)
        for name in fresh:
            self._left.pop(name, None)
        # A relay may tell of ever new names; those who left first are forgotten first.
        for name in list(self._left)[:-MAX_NAMES]:
            del self._left[name]
        self.members = fresh

    def introduce(self, member: str, hello: Hello) -> None:
        """The relay told what ``member`` speaks; it does so before it shows it as present."""
        if len(self._hellos) < MAX_NAMES or member in self._hellos:
            self._hellos[member] = hello

    def hello(self, member: str) -> Hello:
        """What ``member`` speaks; where nothing was told, the silo or the relay is of before versions."""
        return self._hellos.get(member, BEFORE)

    def miss(self, member: str, now: float) -> None:
        """A request could not reach ``member``."""
        if member in self.members:
            self.members -= {member}
            self._left[member] = now

    def lose(self, why_not: str, now: float, *, is_final: bool) -> None:
        """The own stream broke, or could not be made."""
        if self.connected or self.why_not is None:
            self.since = now
        self.connected, self.why_not, self.is_final = False, why_not, is_final
        self.members = frozenset()
        self._left.clear()
        self._hellos.clear()

    def absent_since(self, member: str) -> float | None:
        """When ``member`` was last there, or this silo came; None while it is there."""
        return None if member in self.members else self._left.get(member, self.since)
