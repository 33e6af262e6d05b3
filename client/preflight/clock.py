"""The machine's clock, against the best witness there is."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from client.preflight.finding import Finding, failed, ok, warning
from client.preflight.site import Site

WARN_SECONDS, FAIL_SECONDS = 60.0, 300.0
_REMEDY = "let the machine follow the hospital's NTP server"


def clock(site: Site) -> Iterator[Finding]:
    """Seconds from a Date that was told; without one, only whether the certificates are of this time."""
    told, now = site.attempt.date, site.now()
    if told is not None:
        # HTTP tells whole seconds, cut off.
        off = abs((now - told).total_seconds() - 0.5)
        text = f"{off:.0f} s from what {site.attempt.told_by} says"
        if off > FAIL_SECONDS:
            yield failed(text, remedy=_REMEDY)
        else:
            yield warning(text, remedy=_REMEDY) if off > WARN_SECONDS else ok(text)
        return
    witnesses = {"the root": site.root, "your certificate": site.own_certificate}
    if site.attempt.certificate is not None:
        witnesses["what the relay presents"] = site.attempt.certificate
    for name, certificate in witnesses.items():
        if now < certificate.not_valid_before_utc:
            yield failed(
                f"it is {_minute(now)} here, and {name} begins on {_minute(certificate.not_valid_before_utc)}",
                remedy=_REMEDY,
            )
            return
    yield ok(f"{_minute(now)}, within the time of the certificates; nothing nearer tells the time here")


def _minute(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
