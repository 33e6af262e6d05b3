"""A relay that runs from a folder and follows its roster."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.storage import write_json
from server.relay.metrics import days_left
from server.relay.newest import NewestDocuments
from server.relay.refusals import RefusalLog
from server.relay.relay import Relay
from server.relay.roster import WatchedRoster
from server.relay.settings import read_settings
from server.relay.traffic import RUNNING, VERSION
from server.training.run_counts import RunCounts

_LOOK_SECONDS, _TURN_SECONDS = 1.0, 5.0


@contextmanager
def running(folder: Path) -> Iterator[tuple[Relay, WatchedRoster]]:
    """A relay that serves as ``FOLDER/relay.yaml`` says, and the roster that it admits by.

    Raises:
        ConfigError: settings, TLS files or roster cannot be used.
        RelayError: a port is taken.
    """
    settings = read_settings(folder)
    roster = WatchedRoster(settings.roster, bytes.fromhex(settings.roster_key))
    newest = NewestDocuments(settings.roster, settings.ca)
    relay = Relay(settings.listen, settings.tls, roster.name_of, limits=settings.limits, documents=newest)
    relay.metrics.watch_certificate(settings.tls.certificate.read_bytes)
    relay.metrics.on_refusal = RefusalLog(folder).note
    relay.start()
    note = folder / RUNNING
    try:
        relay.metrics.registry.register(RunCounts(folder))
        certificate = settings.tls.certificate.read_bytes
        metrics = relay.metrics.serve(settings.metrics_port, ailing=lambda: ailing(relay, certificate))
        write_json(note, {"version": VERSION, "port": relay.port, "metrics_port": metrics, "pid": os.getpid()})
        yield relay, roster
    finally:
        note.unlink(missing_ok=True)
        relay.metrics.close()
        relay.stop()


def ailing(relay: Relay, certificate: Callable[[], bytes]) -> str | None:
    """What is wrong with a relay that shows this certificate (PEM), in a line; None where nothing is."""
    if not relay.answers(_TURN_SECONDS):
        return "the relay does not answer"
    if not days_left(certificate) > 0:
        return "the certificate has ended or cannot be read"
    return None


def watch(relay: Relay, roster: WatchedRoster, *, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Apply each new roster within a second, until ``stop``; who is no longer on it is cut off at once.

    Members are told to look whenever another document changed, too.
    """
    while not stop.wait(_LOOK_SECONDS):
        others = relay.documents is not None and relay.documents.refresh()
        changed = roster.refresh()
        if changed or others:
            relay.recheck()
        if changed:
            say(f"roster {roster.roster.sequence}: {len(roster.roster.members)} members")
