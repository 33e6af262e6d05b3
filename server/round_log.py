"""What the round loop tells of a run as it goes: lines with event, run, round and silo; never a weight.

In the process that Flower starts the lines go to RUN/run.log (server.training.run_log). Where nobody listens, as
in a simulation, they are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from common.records import Update
from server.aggregation.reasons import Reason, reason_of
from server.checkpoints import RoundSummary

NAME = "phenofed.run"
LOG = logging.getLogger(f"{NAME}.rounds")
# Otherwise Python would print warnings to standard error where no log was asked for.
LOG.addHandler(logging.NullHandler())


def waiting(run: str, silos: Iterable[str]) -> None:
    """The silos' nodes are looked for."""
    names = list(silos)
    LOG.info("waiting for %s", ", ".join(names), extra={"event": "silos.awaited", "run": run, "silos": names})


def outdated(run: str, silo: str, why: str) -> None:
    """A silo is left out until it, or this coordinator, is updated. ``why``: in this program's own words."""
    LOG.warning("waiting: %s", why, extra={"event": "silo.outdated", "run": run, "silo": silo})


def revoked(run: str, silo: str) -> None:
    """A silo is on the roster no more: it is sent nothing from now on."""
    LOG.warning("%s was revoked", silo, extra={"event": "silo.revoked", "run": run, "silo": silo})


def begun(run: str, number: int, silos: Iterable[str]) -> None:
    """A round is sent to ``silos``, those that are connected."""
    extra = {"event": "round.began", "run": run, "round": number, "silos": (names := sorted(silos))}
    LOG.info("round %d begins with %d silos", number, len(names), extra=extra)


def accepted(run: str, number: int, update: Update) -> None:
    """The gate let an update pass."""
    extra = {"event": "update.accepted", "run": run, "round": number, "silo": update.silo}
    LOG.info("round %d: the update of %s counts", number, update.silo, extra=extra)


def excluded(run: str, number: int, silo: str, why: str) -> None:
    """A silo does not count in this round."""
    reason = reason_of(why)
    event = "update.missing" if reason in (Reason.LATE, Reason.NOT_CONNECTED, Reason.VERSION) else "update.refused"
    extra = {"event": event, "run": run, "round": number, "silo": silo, "reason": reason.value}
    LOG.warning("round %d: %s does not count (%s)", number, silo, reason.value, extra=extra)


def ended(run: str, summary: RoundSummary) -> None:
    """A round is over."""
    extra = {
        "event": "round.ended",
        "run": run,
        "round": summary.round,
        "outcome": "discarded" if summary.discarded else "counted",
        "silos": sorted(summary.losses),
        "seconds": round(summary.seconds, 3),
    }
    level = logging.WARNING if summary.discarded else logging.INFO
    LOG.log(level, "round %d: %s with %d silos", summary.round, extra["outcome"], len(summary.losses), extra=extra)


def kept(run: str, number: int) -> None:
    """The checkpoint after a round is safely on disk."""
    extra = {"event": "checkpoint.written", "run": run, "round": number}
    LOG.info("the checkpoint after round %d is written", number, extra=extra)


def gave_up(run: str, kind: str) -> None:
    """The round loop ended with an error of ``kind``, which it would meet again; its text stays out of the log."""
    LOG.error("the rounds stopped (%s)", kind, extra={"event": "rounds.stopped", "run": run, "error": kind})
