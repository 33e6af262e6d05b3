"""policy.yaml: whether it is in force, and whether what it names is here; each problem a line of its own."""

from __future__ import annotations

from collections.abc import Iterator

from client.preflight.finding import Finding, failed, ok, warning
from client.preflight.site import Site
from client.workspace.policy_here import missing_here


def policy(site: Site) -> Iterator[Finding]:
    """Every problem of the file, or what it allows.

    Raises:
        InvalidPolicy: the file does not fit.
    """
    found = site.policy
    problems = missing_here(found)
    for problem in problems:
        yield failed(problem, remedy="mend the key in policy.yaml, or bring what it names")
    allowed = [name for name, allows in found.allow.model_dump().items() if allows]
    if not allowed:
        yield warning("it allows nothing", remedy="see allow in policy.yaml")
    elif not problems:
        yield ok(f"valid; allows {', '.join(allowed)}; profile {found.profile}")
