"""``phenofed silo check``: look at everything the agent needs, before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from common.errors import AgentError

Folder = Annotated[
    Path, typer.Argument(envvar="PHENOFED_WORKSPACE", help="The silo's workspace.", metavar="WORKSPACE")
]


def check(
    workspace: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    firewall: Annotated[
        bool, typer.Option("--firewall", help="Print the firewall request for the network team, and nothing else.")
    ] = False,
) -> None:
    """Check network, certificates, disk, permissions, model files and patients, and say how to mend each.

    Changes nothing. Ends with 12 if anything failed; a warning is also what cannot be told from here.

    Example: phenofed silo check workspace
    """
    from client.preflight.checks import broken, examine
    from client.preflight.firewall import firewall_request
    from client.preflight.site import Site
    from client.workspace.workspace import Workspace
    from common.consortium.console import show_table

    site = Site(Workspace(workspace))
    if firewall:
        typer.echo(firewall_request(site), nl=False)
        return
    findings = list(examine(site))
    if as_json:
        lines = [
            {"check": name, "state": finding.state.value, "found": finding.found, "remedy": finding.remedy}
            for name, finding in findings
        ]
        content = {"silo": site.workspace.name, "ok": not broken(findings), "findings": lines}
        typer.echo(json.dumps(content, indent=1))
    else:
        rows = [(name, finding.state.value, finding.found, finding.remedy) for name, finding in findings]
        show_table(f"Silo {site.workspace.name}", ("check", "state", "found", "how to mend it"), rows)
    if broken(findings):
        raise typer.Exit(AgentError.exit_code)
