"""How long the certificates are still good for."""

from __future__ import annotations

from collections.abc import Iterator

from client.preflight.finding import Finding, failed, ok, warning
from client.preflight.site import Site

WARN_DAYS = 30


def certificates(site: Site) -> Iterator[Finding]:
    """The hospital's own, the root, and the relay's where it was seen."""
    known = {
        "yours": (site.own_certificate, "ask the operator for a new one: they add the same request again"),
        "the root": (site.root, "ask the operator for a new one in time: phenofed consortium rotate root"),
    }
    if site.attempt.certificate is not None:
        known["the presented one"] = (
            site.attempt.certificate,
            "tell the operator to renew the relay's: phenofed consortium rotate relay",
        )
    for name, (certificate, remedy) in known.items():
        end = certificate.not_valid_after_utc
        days = (end - site.now()).total_seconds() / 86400
        text = f"{name}: {days:.0f} days left, until {end.date()}"
        if days <= 0:
            yield failed(f"{name}: ended on {end.date()}", remedy=remedy)
        else:
            yield warning(text, remedy=remedy) if days < WARN_DAYS else ok(text)
