"""Which roster, registry and release each silo goes by, so that one that lags behind is named and holds up nobody.

    goes_by(standing)            this silo's word, for whoever asks under the topic ``epoch.versions``
    Versions(ask, ...)           what the others say, asked again now and then
    left_out(...)                why members are not in an epoch, for status and for every ranking

What is said here is for people and for choosing whom to propose an epoch with. Nothing is believed: each silo
checks an epoch against its own versions before it gives counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from client.ranking.standing import Standing
from common.config import Settings
from common.consortium.fields import Hash
from common.consortium.gallery_epoch import GalleryEpoch
from common.errors import PhenofedError, VersionError

TOPIC = "epoch.versions"
SECONDS, KEPT_SECONDS = 5.0, 20.0
"""For an answer; how long one counts."""
_MOST_BYTES = 4096

Ask = Callable[[str, str, bytes, float], bytes]
"""(silo, topic, body, seconds) to the silo's reply."""


class GoesBy(Settings):
    """What one silo goes by: numbers for people, digests for the rest."""

    version: Literal[1] = 1
    roster: Hash
    roster_number: Annotated[int, Field(ge=1)]
    registry: Hash
    registry_number: Annotated[int, Field(ge=1)]
    release: Hash


class Unfit(str):
    """Why a silo runs a release of the program that this silo's does not speak with: it can be asked nothing."""


def goes_by(standing: Standing) -> GoesBy:
    """What this silo goes by."""
    return GoesBy(
        roster=standing.roster.digest,
        roster_number=standing.roster.sequence,
        registry=standing.registry.digest,
        registry_number=standing.registry.version,
        release=standing.release,
    )


def differing(theirs: GoesBy, epoch: GalleryEpoch | GoesBy, standing: Standing) -> str:
    """Why a silo that goes by ``theirs`` has no part in an epoch, in words; empty where it goes by the same."""
    parts = []
    if theirs.registry != epoch.registry:
        parts.append(_numbers("registry", theirs.registry_number, _registry_number(epoch, standing)))
    if theirs.roster != epoch.roster:
        parts.append(_numbers("roster", theirs.roster_number, _roster_number(epoch, standing)))
    if theirs.release != epoch.release:
        parts.append(f"goes by release {theirs.release[:12]}, this epoch by {epoch.release[:12]}")
    return " and ".join(parts)


class Versions:
    """What other silos go by, as they last said."""

    def __init__(self, ask: Ask, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._known: dict[str, tuple[float, GoesBy | str]] = {}

    def of(self, names: Iterable[str]) -> dict[str, GoesBy | str]:
        """What each silo says; where it says nothing, why, in words, and empty where it is of before versions."""
        now, wanted = self._clock(), sorted(set(names))
        known = {name: found for name in wanted if (found := self._known.get(name)) and found[0] > now}
        missing = [name for name in wanted if name not in known]
        if missing:
            with ThreadPoolExecutor(min(16, len(missing))) as pool:
                answers = zip(missing, pool.map(self._asked, missing), strict=True)
                known |= {name: (now + KEPT_SECONDS, answer) for name, answer in answers}
            self._known = {**self._known, **known}
        return {name: known[name][1] for name in wanted}

    def forget(self) -> None:
        """Ask everybody anew next time."""
        self._known = {}

    def _asked(self, name: str) -> GoesBy | str:
        try:
            reply = self._ask(name, TOPIC, b"", SECONDS)
        except VersionError as error:
            return Unfit(str(error))
        except PhenofedError as error:
            # A silo that does not know the topic is judged by its answer to the epoch itself.
            what = error.what.removeprefix(f"{name}: ")
            return "" if "does not know" in what else what
        try:
            return GoesBy.model_validate_json(reply if len(reply) <= _MOST_BYTES else b"")
        except ValidationError:
            return "does not say what it goes by"


def left_out(
    own: str, epoch: GalleryEpoch, standing: Standing, present: Iterable[str], versions: Versions
) -> dict[str, str]:
    """Members that a question in this epoch does not ask, and why, by name."""
    there, taking_part = set(present), {card.name for card in epoch.participants}
    others = [member.name for member in standing.roster.members if member.name not in taking_part | {own}]
    asked = versions.of(name for name in others if name in there and standing.admits(name))
    return {name: _why(name, epoch, standing, there, asked) for name in others}


def _why(
    name: str, epoch: GalleryEpoch, standing: Standing, present: set[str], asked: Mapping[str, GoesBy | str]
) -> str:
    if name in standing.strangers:
        return "was not accepted at this hospital"
    if name not in present:
        return "is not connected"
    theirs = asked[name]
    if isinstance(theirs, Unfit):
        return theirs
    if isinstance(theirs, str) and theirs:
        return f"answers: {theirs}"
    if isinstance(theirs, GoesBy) and (why := differing(theirs, epoch, standing)):
        return why
    if name in epoch.waiting:
        return "waits for a later gallery epoch, in which its patients hide among enough others"
    return "was not there when this gallery epoch opened"


def _numbers(what: str, theirs: int, epochs: int | None) -> str:
    return f"goes by {what} {theirs}, this epoch by " + (f"{what} {epochs}" if epochs else "another")


def _registry_number(epoch: GalleryEpoch | GoesBy, standing: Standing) -> int | None:
    if isinstance(epoch, GoesBy):
        return epoch.registry_number
    return _number(epoch.registry, standing.registry.earlier, standing.registry.digest)


def _roster_number(epoch: GalleryEpoch | GoesBy, standing: Standing) -> int | None:
    if isinstance(epoch, GoesBy):
        return epoch.roster_number
    return _number(epoch.roster, standing.roster.earlier, standing.roster.digest)


def _number(digest: str, earlier: tuple[str, ...], newest: str) -> int | None:
    """Versions count from 1; None for one that this silo does not know."""
    chain = (*earlier, newest)
    return chain.index(digest) + 1 if digest in chain else None
