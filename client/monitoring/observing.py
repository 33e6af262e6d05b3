"""Counting and logging requests around those who answer them; what is asked stays unseen."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from client.local.door import Request
from client.monitoring.metrics import OTHER, AgentMetrics, Outcome, Side
from common.errors import PhenofedError

LOG = logging.getLogger("phenofed.requests")

_TOPIC = re.compile(r"[a-z][a-z0-9._-]{0,63}")
"""What a topic looks like; words of others that do not look so are not repeated."""


def observed_peers(
    metrics: AgentMetrics, handle: Callable[[str, str, bytes], bytes]
) -> Callable[[str, str, bytes], bytes]:
    """``handle`` for messages of other hospitals, counted and logged by topic."""

    def handled(sender: str, topic: str, body: bytes) -> bytes:
        with _observed(metrics, "peer", topic, sender):
            return handle(sender, topic, body)

    return handled


def observed(
    metrics: AgentMetrics, handle: Callable[[Request], dict[str, Any]]
) -> Callable[[Request], dict[str, Any]]:
    """``handle`` for the local socket, counted and logged by operation."""

    def handled(request: Request) -> dict[str, Any]:
        with _observed(metrics, "local", request.operation, request.user):
            return handle(request)

    return handled


@contextmanager
def _observed(metrics: AgentMetrics, side: Side, topic: str, who: str) -> Iterator[None]:
    began = time.monotonic()
    outcome: Outcome = "failed"
    try:
        yield
        outcome = "ok"
    except PhenofedError:
        outcome = "refused"
        raise
    finally:
        seconds = time.monotonic() - began
        metrics.answered(side, topic, outcome, seconds)
        shown = topic if _TOPIC.fullmatch(topic) else OTHER
        fields = {
            "event": "request",
            "side": side,
            "topic": shown,
            "outcome": outcome,
            "seconds": round(seconds, 3),
        }
        fields["peer" if side == "peer" else "user"] = who
        LOG.info("%s of %s: %s", shown, who, outcome, extra=fields)
