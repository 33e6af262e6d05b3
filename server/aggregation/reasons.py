"""Why a silo's update did not count, in one word of a fixed set: for figures and logs, which take no free text.

The sentence itself stays in the checkpoint. All beginnings are the coordinator's own: what a silo says of itself
stands behind ``refused by the hospital``.
"""

from __future__ import annotations

from enum import StrEnum

REFUSED_BY_SILO = "refused by the hospital: "
OTHER_RELEASE = "its release does not fit: "
REVOKED = "revoked: the roster lists it no more"
GONE = "not connected any more"
RESTARTED = "its node was started again while the round ran"


class Reason(StrEnum):
    """The words."""

    LATE = "late"
    NOT_CONNECTED = "not_connected"
    RESTARTED = "restarted"
    REVOKED = "revoked"
    VERSION = "version"
    FAILED = "failed"
    REFUSED = "refused"
    NORM = "norm"
    NOT_FINITE = "not_finite"
    SIGNATURE = "signature"
    PARAMETERS = "parameters"
    OTHER_ROUND = "other_round"
    COUNTS = "counts"
    MALFORMED = "malformed"


_BEGINNINGS = (
    ("no reply within", Reason.LATE),
    ("not connected", Reason.NOT_CONNECTED),
    (RESTARTED, Reason.RESTARTED),
    (REVOKED, Reason.REVOKED),
    (OTHER_RELEASE, Reason.VERSION),
    ("it answers in version", Reason.VERSION),
    ("its client failed", Reason.FAILED),
    (REFUSED_BY_SILO, Reason.REFUSED),
    ("its norm", Reason.NORM),
    ("its loss is not finite", Reason.NOT_FINITE),
    ("a parameter is not finite", Reason.NOT_FINITE),
    ("it does not bear the silo's signature", Reason.SIGNATURE),
    ("parameters missing", Reason.PARAMETERS),
    ("parameter '", Reason.PARAMETERS),
    ("it names another silo", Reason.OTHER_ROUND),
    ("it belongs to run", Reason.OTHER_ROUND),
    ("it counts", Reason.COUNTS),
)


def reason_of(sentence: str) -> Reason:
    """The word for a sentence of ``RoundSummary.excluded``; what has none is a message that does not fit."""
    return next((word for start, word in _BEGINNINGS if sentence.startswith(start)), Reason.MALFORMED)
