"""Whether the relay lets this hospital in, with its own certificate and key."""

from __future__ import annotations

import time
from collections.abc import Iterator

from client.local.door import call
from client.preflight.attempt import Step
from client.preflight.finding import Finding, failed, ok, warning
from client.preflight.site import Site
from client.relay.link import RelayLink
from common.errors import AgentError, PhenofedError

_LOOK_SECONDS = 0.1


def admission(site: Site) -> Iterator[Finding]:
    """Ask the agent where one runs, since a second connection would end its own; else connect as it would."""
    socket_path = site.workspace.socket_path
    if socket_path.exists():
        status = call(socket_path, "status", {})
        if status["connected"]:
            yield ok("the agent runs and is connected")
        else:
            yield failed(
                f"the agent runs and is not connected: {status['why_not'] or 'it still tries'}",
                remedy="mend what stands above; if all is well there, ask the operator",
            )
    elif site.attempt.step is not Step.DONE:
        yield warning("not tried", remedy="mend the way to the relay first")
    else:
        yield _connected(site)


def _connected(site: Site) -> Finding:
    workspace = site.workspace
    try:
        tls = workspace.tls
    except PhenofedError as error:
        return failed(f"the private keys do not open: {error.what}", remedy=error.remedy)
    link = RelayLink(site.roster.relay, tls, workspace.name, _refuse, proxy=site.policy.relay.proxy)
    link.start()
    try:
        until = time.monotonic() + site.seconds
        while not link.wait_for((), seconds=_LOOK_SECONDS):
            if link.why_not is not None or time.monotonic() > until:
                break
        else:
            return ok("the relay knows this hospital's certificate")
        return failed(
            f"the relay does not let this hospital in: {link.why_not or 'no answer in time'}",
            remedy="ask the operator whether the relay has the newest roster, then join with the newest kit",
        )
    finally:
        link.close()


def _refuse(sender: str, topic: str, body: bytes) -> bytes:
    raise AgentError("this hospital only checks its connection", remedy="ask again when its agent runs")
