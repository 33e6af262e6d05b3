"""Whether the relay's release and this one have a version of its protocol in common."""

from __future__ import annotations

from collections.abc import Iterator

from client.preflight.attempt import Step
from client.preflight.finding import Finding, failed, ok, warning
from client.preflight.site import Site
from client.relay.stream import relay_hello
from common.errors import RelayError, VersionError
from common.versions import BEFORE, OWN, SOFTWARE, agree


def versions(site: Site) -> Iterator[Finding]:
    """Ask the relay, beside the agent's connection."""
    if site.attempt.step is not Step.DONE:
        yield warning("not compared", remedy="mend the way to the relay first")
        return
    proxy = site.policy.relay.proxy
    try:
        theirs = relay_hello(site.roster.relay, site.workspace.tls, proxy=proxy, seconds=site.seconds)
        agree(OWN, theirs, ["relay"], we="this silo", they="the relay")
    except RelayError as error:
        yield warning(f"not compared: {error.what}", remedy=error.remedy)
    except VersionError as error:
        yield failed(error.what, remedy=error.remedy)
    else:
        relay = "the relay is of before versions" if theirs == BEFORE else f"the relay runs {theirs.software}"
        yield ok(f"phenofed {SOFTWARE}; {relay}")
