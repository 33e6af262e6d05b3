"""What ``silo status`` shows."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def status_table(answer: dict[str, Any]) -> Table:
    """The agent's answer to ``status`` as a table."""
    table = Table(show_header=False, title=f"Silo {answer['name']}", title_justify="left")
    table.add_row(
        "relay", "connected" if answer["connected"] else f"not connected: {answer['why_not'] or 'trying'}"
    )
    # An agent of before versions tells nothing of its own.
    software = answer.get("software", {})
    releases = software.get("silos", {})
    table.add_row("present", ", ".join(_with(name, releases) for name in answer["present"]) or "nobody else")
    if software:
        relay = software["relay"]
        table.add_row("phenofed", software["agent"] + (f"; the relay runs {relay}" if relay else ""))
    for why in software.get("unfit", {}).values():
        table.add_row("not asked", why)
    table.add_row("release", answer["release"])
    opened = answer["epoch"]
    if opened is None:
        table.add_row("gallery epoch", f"none is open{': ' + why if (why := answer['last_refusal']) else ''}")
    else:
        table.add_row(
            "gallery epoch", f"{opened['number']}, {opened['kernel']} kernel, profile {opened['profile']}"
        )
        table.add_row("your panels", "; ".join(", ".join(panel) for panel in opened["panels"]))
        table.add_row("waiting", ", ".join(opened["waiting"]) or "nobody")
        table.add_row("answerable", f"{opened['answerable']} of {opened['syndromes']} syndromes")
    for name, why in answer["left_out"].items():
        table.add_row("left out", f"{name}: {why}")
    _add_documents(table, answer["documents"])
    days = answer["certificate_days"]
    table.add_row(
        "certificate", f"{days} days left" if days >= 0 else "it has ended; ask the operator for a new kit"
    )
    if answer["not_accepted"]:
        table.add_row("not accepted", f"{', '.join(answer['not_accepted'])}: phenofed silo members accept")
    if answer["unconfined"]:
        table.add_row("warning", f"this machine cannot confine workers with {', '.join(answer['unconfined'])}")
    return table


def _add_documents(table: Table, documents: dict[str, Any]) -> None:
    table.add_row("roster, registry", f"{documents['roster']}, {documents['registry']}")
    if not documents["follow"]:
        table.add_row("newer ones", "by silo join alone, as policy says")
    elif documents["complaint"]:
        table.add_row("newer ones", documents["complaint"])
    else:
        table.add_row(
            "newer ones", f"last looked at {documents['looked']}" if documents["looked"] else "not looked yet"
        )
    table.add_row("offline key", documents["offline_key"])


def _with(name: str, releases: dict[str, str]) -> str:
    return f"{name} ({releases[name]})" if name in releases else name
