"""The registry of checks, in the order in which they are shown, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from client.preflight.admission import admission
from client.preflight.certificates import certificates
from client.preflight.clock import clock
from client.preflight.finding import Finding, State, failed, warning
from client.preflight.model import backbone, detector, release
from client.preflight.network import name, port, proxy
from client.preflight.patients import labels, patients, photos
from client.preflight.permissions import permissions
from client.preflight.policy import policy
from client.preflight.presented import presented, root
from client.preflight.site import Site
from client.preflight.space import space
from client.preflight.versions import versions
from client.preflight.volume import volume
from client.preflight.workers import worker
from common.errors import PhenofedError

Check = Callable[[Site], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "policy": policy,
    "permissions": permissions,
    "encrypted volume": volume,
    "disk space": space,
    "root certificate": root,
    "DNS": name,
    "proxy": proxy,
    "TCP port": port,
    "TLS": presented,
    "clock": clock,
    "certificates": certificates,
    "admission": admission,
    "versions": versions,
    "encryption worker": worker,
    "release": release,
    "backbone": backbone,
    "face detector": detector,
    "patients": patients,
    "labels": labels,
    "photos": photos,
}


def examine(site: Site, checks: dict[str, Check] = CHECKS) -> Iterator[tuple[str, Finding]]:
    """(name of the check, what it found), as they are done.

    What a check cannot even look at is a failure; where several fail for one cause, only the first is.
    """
    seen: set[str] = set()
    for title, check in checks.items():
        try:
            for finding in check(site):
                yield title, finding
        except PhenofedError as error:
            if error.what in seen:
                yield title, warning(f"not checked: {error.what}", remedy=error.remedy)
            else:
                seen.add(error.what)
                yield title, failed(error.what, remedy=error.remedy)
        except OSError as error:
            yield (
                title,
                failed(f"cannot look ({error.strerror or error})", remedy="run it as the workspace's owner"),
            )


def broken(findings: list[tuple[str, Finding]]) -> bool:
    """Whether anything failed."""
    return any(finding.state is State.FAILED for _, finding in findings)
