"""Whether an agent does its work now: what ``/healthz`` and ``phenofed silo status --check`` go by.

Nothing here is a reason to start an agent anew: it connects again by itself, and a certificate needs the operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from client.monitoring.snapshot import Snapshot
from common.errors import PhenofedError


def ailing(look: Callable[[], Snapshot]) -> str | None:
    """What is wrong, in a line that names no patient; None where nothing is."""
    try:
        now = look()
    except PhenofedError as error:
        # Its text may name files.
        return f"the workspace cannot be read ({type(error).__name__})"
    return _wrong(now.connected, now.certificate_days)


def ailing_by(answer: dict[str, Any]) -> str | None:
    """The same by the agent's answer to ``status``."""
    return _wrong(bool(answer["connected"]), float(answer["certificate_days"]))


def _wrong(connected: bool, certificate_days: float) -> str | None:
    if certificate_days < 0:
        return "the certificate has ended"
    return None if connected else "not connected to the relay"
