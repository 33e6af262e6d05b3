"""Answers what other silos ask: a bounded pool of handlers, and no request twice."""

from __future__ import annotations

import logging
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from common.errors import PhenofedError
from common.transport.refusal import write_refusal
from common.transport.wire import MAX_MESSAGE, Frame, Kind, Status

LOG = logging.getLogger("phenofed.link")

Handler = Callable[[str, str, bytes], bytes]
"""(sender, topic, body) to reply. A PhenofedError that it raises travels to the asker: code, what, remedy."""


@dataclass(frozen=True)
class ServiceLimits:
    """Requests at once, those waiting (in all, and of one sender), and what is kept of replies."""

    handlers: int = 4
    waiting: int = 64
    sender_waiting: int = 16
    kept_bytes: int = 64 << 20
    kept: int = 512


@dataclass(frozen=True)
class Outcome:
    """What a request came to: a reply's body, or that of an error frame."""

    status: Status
    body: bytes


class PeerService:
    """Runs the handler at most once for a request; one that comes again gets the outcome of the first time.

    That holds while the outcome is kept. A handler must bear a request twice, which signed envelopes with ids do.

    Args:
        send: called with a request's first frame, its outcome, and when its time is over.
    """

    def __init__(
        self,
        handler: Handler,
        limits: ServiceLimits,
        clock: Callable[[], float],
        send: Callable[[Frame, Outcome, float], None],
    ) -> None:
        self._handler = handler
        self._limits = limits
        self._clock = clock
        self._send = send
        self._lock = threading.Lock()
        self._running: dict[tuple[str, bytes], float] = {}
        self._kept: OrderedDict[tuple[str, bytes], Outcome] = OrderedDict()
        self._kept_bytes = 0
        self._pool = ThreadPoolExecutor(limits.handlers, thread_name_prefix="relay-handler")

    def take(self, frame: Frame, body: bytes) -> None:
        """Answer a whole request; ``frame`` is any of its frames. Returns at once."""
        key = (frame.sender, frame.message_id)
        until = self._clock() + frame.deadline_ms / 1000
        with self._lock:
            if key in self._running:
                self._running[key] = until
                return
            outcome = self._kept.get(key)
            if outcome is None and self._has_room(frame.sender):
                self._running[key] = until
                self._pool.submit(self._run, frame, body)
                return
        self._send(frame, outcome or Outcome(Status.BUSY, b""), until)

    def close(self) -> None:
        """Begin no more; what runs ends unheard."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, frame: Frame, body: bytes) -> None:
        key = (frame.sender, frame.message_id)
        with self._lock:
            if self._running[key] <= self._clock():
                # Nobody waits any more; the work would be for nothing.
                del self._running[key]
                return
        outcome = self._outcome(frame, body)
        with self._lock:
            until = self._running.pop(key)
            self._keep(key, outcome)
        self._send(frame, outcome, until)

    def _outcome(self, frame: Frame, body: bytes) -> Outcome:
        began = self._clock()
        try:
            reply = self._handler(frame.sender, frame.topic, body)
            if len(reply) > MAX_MESSAGE:
                raise ValueError("the reply is too large for the wire")
        except PhenofedError as error:
            return Outcome(Status.REFUSED, write_refusal(error))
        except Exception as error:
            # Details of a fault stay here; its text may quote data, so that the log gets its kind and place only.
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            LOG.error("a request of %s failed (%s at %s)", frame.sender, type(error).__name__, place)
            return Outcome(Status.FAILED, b"")
        LOG.info("%d bytes answered with %d in %.3f s", len(body), len(reply), self._clock() - began)
        return Outcome(Status.OK, reply)

    def _has_room(self, sender: str) -> bool:
        own = sum(name == sender for name, _ in self._running)
        return len(self._running) < self._limits.waiting and own < self._limits.sender_waiting

    def _keep(self, key: tuple[str, bytes], outcome: Outcome) -> None:
        self._kept[key] = outcome
        self._kept_bytes += len(outcome.body)
        while self._kept_bytes > self._limits.kept_bytes or len(self._kept) > self._limits.kept:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped.body)


def error_frame(request: Frame, outcome: Outcome) -> Frame:
    """The answer that is no reply."""
    return Frame(
        Kind.ERROR,
        sender=request.receiver,
        receiver=request.sender,
        message_id=request.message_id,
        length=len(outcome.body),
        status=outcome.status,
        body=outcome.body,
    )
