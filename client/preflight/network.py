"""The way to the relay: its name, the hospital's proxy, its port."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from client.preflight.attempt import Step
from client.preflight.finding import Finding, failed, ok, warning
from client.preflight.site import Site

_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def name(site: Site) -> Iterator[Finding]:
    """Whether the name of the relay, or of the proxy that would look it up, resolves."""
    proxy = site.policy.relay.proxy
    host = proxy.rpartition(":")[0] if proxy else site.relay[0]
    tried = site.attempt
    if tried.step is Step.NAME:
        yield failed(
            f"{host} does not resolve: {tried.why}",
            remedy="ask the network team for DNS of this one name, or correct the proxy in policy.yaml",
        )
    elif _is_address(host):
        yield ok(f"{host} is an address, no name is looked up")
    else:
        rest = "; the relay's name is left to the proxy" if proxy else ""
        yield ok(f"{host} is {', '.join(tried.addresses[:4])}{rest}")


def proxy(site: Site) -> Iterator[Finding]:
    """Whether the proxy of the policy answers and lets CONNECT through."""
    address, tried = site.policy.relay.proxy, site.attempt
    host, port = site.relay
    if address is None:
        named = next((name for name in _VARIABLES if site.environ.get(name)), None)
        if named and tried.step <= Step.PORT:
            yield warning(
                f"the policy names no proxy, but the environment does ({named}), which the agent ignores",
                remedy="set relay.proxy in policy.yaml",
            )
        else:
            yield ok("none: the connection is direct")
    elif tried.step is Step.PROXY:
        yield failed(f"{address} cannot be used: {tried.why}", remedy="correct relay.proxy in policy.yaml")
    elif tried.step is Step.PORT:
        remedy = f"ask the network team to allow CONNECT to {host}:{port} (phenofed silo check --firewall)"
        if tried.why.startswith("407"):
            remedy = f"phenofed gives no proxy password: ask for a rule for {host}:{port} without one"
        yield failed(f"{address} refuses CONNECT to {host}:{port}: {tried.why}", remedy=remedy)
    elif tried.step is not Step.NAME:
        yield ok(f"{address} lets CONNECT through")
    else:
        yield warning("not tried, since the proxy's name does not resolve", remedy="mend the name first")


def port(site: Site) -> Iterator[Finding]:
    """Whether the relay's TCP port answers."""
    host, number = site.relay
    tried = site.attempt
    if tried.step > Step.PORT:
        yield ok(f"{host}:{number} answers")
    elif tried.step is Step.PORT and site.policy.relay.proxy is None:
        yield failed(
            f"{host}:{number} does not answer: {tried.why}",
            remedy="give the network team the text of silo check --firewall; if the way is open, ask the operator",
        )
    else:
        yield warning("not reached", remedy="mend what stands above first")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
