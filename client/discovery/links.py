"""Links between this hospital's unsolved patients and others', and what became of each; kept privately.

A link is offered, then accepted by each hospital on its own, in any order. Only what both accepted shows whom to
call. A declined link stays declined, whatever the other hospital sends.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from client.discovery.private_file import read_private, write_private
from common.cohort.schema import Record
from common.errors import DisclosureError

Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Similarity = Annotated[float, Field(ge=0, le=1)]


class Link(Record):
    """One pair.

    ``patient``: this hospital's own id of it, which never leaves. ``ours``, ``theirs``: the pseudonyms between the
    two hospitals. ``similarity``: a rounded cosine, never a probability.
    """

    partner: str
    patient: str
    ours: Pseudonym
    theirs: Pseudonym
    similarity: Similarity
    accepted_here: bool = False
    accepted_there: bool = False
    declined: bool = False

    @property
    def name(self) -> str:
        """12 hexadecimal digits, the same at both hospitals."""
        return hashlib.sha256("".join(sorted((self.ours, self.theirs))).encode()).hexdigest()[:12]

    @property
    def state(self) -> str:
        """For people."""
        if self.declined:
            return "declined"
        accepted = (self.accepted_here, self.accepted_there)
        return {
            (False, False): "offered",
            (True, False): "accepted here",
            (False, True): "accepted there",
            (True, True): "accepted",
        }[accepted]


class _Links(Record):
    version: Literal[1] = 1
    links: tuple[Link, ...] = ()


class LinkBook:
    """The file of links.

    Raises:
        AgentError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._links = {link.name: link for link in read_private(path, _Links).links}
        self._lock = threading.Lock()

    @property
    def links(self) -> tuple[Link, ...]:
        """All, the most similar first."""
        return tuple(sorted(self._links.values(), key=lambda link: (-link.similarity, link.name)))

    def find(self, name: str) -> Link:
        """The link of that name.

        Raises:
            DisclosureError: there is none.
        """
        if name not in self._links:
            raise DisclosureError(f"there is no link '{name}'", remedy="list the links and take a name from there")
        return self._links[name]

    def add(self, link: Link) -> Link:
        """Record an offer; a pair that is known keeps its state."""
        with self._lock:
            if link.name not in self._links:
                self._keep({**self._links, link.name: link})
            return self._links[link.name]

    def accept(self, name: str, *, here: bool) -> Link:
        """Accepted by this hospital, or by the other one.

        Raises:
            DisclosureError: there is no such link, or it was declined.
        """
        with self._lock:
            link = self.find(name)
            if link.declined:
                raise DisclosureError(f"link '{name}' was declined", remedy="talk to whoever declined it")
            side = {"accepted_here": True} if here else {"accepted_there": True}
            self._keep({**self._links, name: link.model_copy(update=side)})
            return self._links[name]

    def decline(self, name: str) -> None:
        """For good; nothing is told to the other hospital."""
        with self._lock:
            declined = self.find(name).model_copy(update={"declined": True, "accepted_here": False})
            self._keep({**self._links, name: declined})

    def forget(self, patient: str) -> None:
        """Drop the links of a patient, whose consent ended for instance."""
        with self._lock:
            self._keep({name: link for name, link in self._links.items() if link.patient != patient})

    def contact(self, name: str, contacts: Callable[[str], str]) -> str:
        """Whom to call at the other hospital, from the roster.

        Raises:
            DisclosureError: not both hospitals have accepted.
        """
        link = self.find(name)
        if link.state != "accepted":
            raise DisclosureError(
                f"link '{name}' is {link.state}", remedy="contacts are shown once both hospitals have accepted"
            )
        return contacts(link.partner)

    def _keep(self, links: dict[str, Link]) -> None:
        write_private(self._path, _Links(links=tuple(links.values())))
        self._links = links
