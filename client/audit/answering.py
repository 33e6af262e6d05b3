"""Audited handling: each request of the hospital's people and of other hospitals leaves a line."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from client.audit.entry import AGENT, RELAY, Entry, Outcome, is_fact, member, reason_of, user
from client.audit.log import AuditLog
from client.local.door import Request
from client.workspace.policy import InvalidPolicy
from common.errors import PhenofedError

LOG = logging.getLogger("phenofed.training")

NO_GROUP = "not the owner and in no group of the policy"
LOOKS = frozenset({"status", "budget", "discover.remaining"})
"""What only shows how the agent stands, and is asked again and again."""

MOST_REFUSED, MINUTE_SECONDS = 60, 60.0
MORE_REFUSED = "more messages than a minute has lines for"

_TOPIC = re.compile(r"[a-z][a-z0-9._-]{0,63}")

Local = Callable[[Request], dict[str, Any]]
FromPeers = Callable[[str, str, bytes], bytes]
Result = TypeVar("Result")


def audited(log: AuditLog, handle: Local) -> Local:
    """``handle`` for requests over the local socket, with a line that names operation and OS user.

    What cannot be written down is not answered.
    """

    def handled(request: Request) -> dict[str, Any]:
        if request.operation in LOOKS:
            return handle(request)
        note = partial(log.record, _known(request.operation), user(request.user))
        return _written(note, lambda: handle(request))

    return handled


def audited_peers(log: AuditLog, handle: FromPeers, *, clock: Callable[[], float] = time.monotonic) -> FromPeers:
    """``handle`` for messages from other hospitals, with a line that names hospital and topic.

    Of those that are refused in one minute the first ``MOST_REFUSED`` have a line each, and the others one
    together: whoever sends nonsense without end, the relay too, must not fill the hospital's disk.
    """
    refused = _Refused(log, clock)

    def handled(sender: str, topic: str, body: bytes) -> bytes:
        note = partial(log.record, "answer", member(sender), topic=_known(topic))
        refused.told()
        return _written(note, lambda: handle(sender, topic, body), unless=refused.one_too_many)

    return handled


class _Refused:
    """Counts the messages that were refused in this minute."""

    def __init__(self, log: AuditLog, clock: Callable[[], float]) -> None:
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._began, self._number = clock(), 0

    def one_too_many(self) -> bool:
        """Whether the minute's lines are used up."""
        with self._lock:
            self._number += 1
            return self._number > MOST_REFUSED

    def told(self) -> None:
        """Write down how many had no line in a minute that is over."""
        with self._lock:
            if self._clock() - self._began < MINUTE_SECONDS:
                return
            more = self._number - MOST_REFUSED
            self._began, self._number = self._clock(), 0
        if more > 0:
            self._log.record("answer", RELAY, outcome="refused", reason=MORE_REFUSED, refused=more)


def turned_away(log: AuditLog) -> Callable[[str], None]:
    """A line for somebody whom a door of the agent's did not open to."""

    def noted(name: str) -> None:
        log.record("door", user(name), outcome="refused", reason=NO_GROUP)

    return noted


def policy_note(log: AuditLog) -> Callable[[str, bool], None]:
    """A line for each policy that came into force, or could not."""

    def noted(digest: str, valid: bool) -> None:
        reason = "" if valid else reason_of(InvalidPolicy(""))
        told = {"digest": digest} if digest else {}
        log.record("policy", AGENT, outcome="done" if valid else "refused", reason=reason, **told)

    return noted


def training_note(log: AuditLog) -> Callable[[str, Mapping[str, Any]], None]:
    """What the training desk notes, as lines: the event, and of its facts those that a line may tell."""

    def noted(event: str, about: Mapping[str, Any]) -> None:
        told = ("run", "patients", "stated", "norm", "clipped")
        facts: dict[str, Any] = {key: about[key] for key in told if is_fact(key, about.get(key))}
        if type(about.get("round")) is int:
            facts["round"] = str(about["round"])
        refused = "reason" in about or event.endswith(".unknown")
        who, why = user(str(about["user"])) if "user" in about else AGENT, str(about.get("why", ""))
        outcome: Outcome = "refused" if refused else "done"
        log.record(_known(event), who, outcome=outcome, reason=why, **facts)
        ids: dict[str, Any] = {key: facts[key] for key in ("run", "round") if key in facts}
        extra: dict[str, Any] = {"event": _known(event), "topic": "train", "outcome": outcome, **ids}
        LOG.info("%s: %s", _known(event), outcome, extra=extra)

    return noted


def _written(
    note: Callable[..., Entry], work: Callable[[], Result], *, unless: Callable[[], bool] = lambda: False
) -> Result:
    """What ``work`` gives, with a line; one of what was refused only where ``unless`` does not hold."""
    try:
        result = work()
    except Exception as error:
        outcome: Outcome = "refused" if isinstance(error, PhenofedError) else "failed"
        if not unless():
            note(outcome=outcome, reason=reason_of(error))
        raise
    note()
    return result


def _known(name: str) -> str:
    """A name that others chose, as far as it is one."""
    return name if _TOPIC.fullmatch(name) else "unknown"
