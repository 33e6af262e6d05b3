"""Room on the disk that holds the workspace."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from client.preflight.finding import Finding, failed, ok, warning
from client.preflight.site import Site

FAIL_BYTES, WARN_BYTES = 1 << 30, 5 << 30
"""A ledger keeps 256 MiB of answers, each other hospital's keys take 20 MB, and 10,000 crops 380 MB."""

_REMEDY = "free space, or move the workspace to a larger volume"


def space(site: Site) -> Iterator[Finding]:
    """Free bytes: a full disk makes the agent refuse, since it books before it answers."""
    free = shutil.disk_usage(site.workspace.folder).free
    text = f"{free / (1 << 30):.1f} GiB are free"
    if free < FAIL_BYTES:
        yield failed(text, remedy=_REMEDY)
    else:
        yield warning(text, remedy=_REMEDY) if free < WARN_BYTES else ok(text)
