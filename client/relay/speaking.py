"""Whether another silo speaks what a topic needs, by what the relay told of it: known before anything is asked."""

from __future__ import annotations

from common.errors import VersionError
from common.versions import DISCOVERY, OWN, RANKING, Hello, agree

_DISCOVERY = "discover."


def check_speaks(theirs: Hello, topic: str, silo: str, *, own: Hello = OWN) -> None:
    """Check that this silo and another have a version of everything in common that a topic needs.

    Raises:
        VersionError: they have not; says which of them must be updated.
    """
    agree(own, theirs, DISCOVERY if topic.startswith(_DISCOVERY) else RANKING, we="this silo", they=silo)


def unfit(theirs: Hello, silo: str, *, own: Hello = OWN) -> str:
    """Why nothing can be asked of another silo, or less than all; empty where its release fits."""
    for topic in ("query", _DISCOVERY):
        try:
            check_speaks(theirs, topic, silo, own=own)
        except VersionError as error:
            return str(error)
    return ""
