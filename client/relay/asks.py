"""What a silo asks of another, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass

from client.relay.service import Outcome
from common.errors import RelayError
from common.transport.refusal import read_refusal, unexplained
from common.transport.wire import MAX_DEADLINE_MS, MAX_MESSAGE, Status, is_name, is_topic


@dataclass(eq=False)
class Ask:
    """A request on its way, under the link's lock.

    Args:
        until: when its time is over, by the link's clock.
        is_lost: whether it must be sent again.
        was_sent: whether it has been under way once.
    """

    message_id: bytes
    to: str
    until: float
    outcome: Outcome | None = None
    is_lost: bool = False
    was_sent: bool = False


def check(to: str, topic: str, body: bytes, deadline: float) -> None:
    """Refuse what cannot travel.

    Raises:
        RelayError: a name, topic, size or deadline out of bounds.
    """
    if not is_name(to) or not is_topic(topic):
        raise RelayError(f"'{to}' or '{topic}' cannot travel", remedy="use the silo's roster name, and a-z0-9-_./")
    if len(body) > MAX_MESSAGE:
        raise RelayError(f"a message of {len(body)} bytes is too large", remedy=f"send at most {MAX_MESSAGE}")
    if not 0 < deadline <= MAX_DEADLINE_MS / 1000:
        raise RelayError(f"{deadline} s is no deadline", remedy="give more than 0 and at most 3600 seconds")


def result(ask: Ask, outcome: Outcome) -> bytes:
    """The reply.

    Raises:
        RelayError: there is none, by the relay or for want of time.
        PeerRefusal: the other silo refused.
    """
    if outcome.status is Status.OK:
        return outcome.body
    if outcome.status is Status.REFUSED:
        raise read_refusal(outcome.body, sender=ask.to)
    if outcome.status is Status.FAILED:
        raise unexplained(ask.to)
    what, remedy = _FAILURES[outcome.status]
    raise RelayError(what.format(silo=ask.to), remedy=remedy)


_FAILURES = {
    Status.EXPIRED: ("{silo} did not answer in time", "ask again, with more time"),
    Status.LIMITED: ("the relay refuses more requests from this hospital now", "wait a minute and ask again"),
    Status.FULL: ("too much waits on the way to or from {silo}", "ask again later"),
    Status.BUSY: ("{silo} is busy", "ask again later"),
}
