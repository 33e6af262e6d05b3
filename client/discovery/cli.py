"""``phenofed silo discover``: compare unsolved patients with another hospital's, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

_HELP = """Compare unsolved patients with another hospital's, pseudonymously; off until policy.yaml allows it.

Only unsolved patients with a photo who agreed to discovery are compared. Set allow.discover in policy.yaml, look
with remaining at whom you may compare, ask a partner, then accept or refuse the links that are found. The other
hospital sees each link under a pseudonym. Whom to write to is shown once both hospitals have accepted.

A link is a resemblance of faces above a threshold that both hospitals set. It is no diagnosis. Research use only.

Example: phenofed silo discover silo ask clinic-b --patients P-17,P-23"""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LinkName = Annotated[str, typer.Argument(metavar="LINK", help="The link's name, 12 digits, as links shows it.")]


def register(silo: typer.Typer) -> None:
    """Offer the commands under ``phenofed silo discover``."""
    application = typer.Typer(help=_HELP, no_args_is_help=True)
    application.callback()(discover)
    for command in (ask, links, accept, refuse, clusters, remaining):
        application.command()(command)
    silo.add_typer(application, name="discover")


def discover(
    context: typer.Context,
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The silo's workspace.")],
) -> None:
    context.obj = workspace


def ask(
    context: typer.Context,
    partner: Annotated[str, typer.Argument(metavar="PARTNER", help="Another member, as silo members lists it.")],
    patients: Annotated[
        str, typer.Option(metavar="REF,...", help="Your own ids of the patients; all who agreed, if left out.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Compare patients with all of a partner's who may be compared, and list the links found.

    Each patient is one row of at most 16 a partner and rolling year; a row is spent when it is asked. A question
    that got no answer costs nothing more: ask for the same patients again.
    """
    chosen = [name.strip() for name in patients.split(",") if name.strip()]
    answer = _call(context, "ask", partner=partner, patients=chosen)
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
    elif answer["links"]:
        _show_links(f"links with {partner}", answer["links"])
        _say_untold(answer, partner, "Accepting a link tells it.")
    else:
        _say(f"No patient of {partner} resembles these enough.")


def links(context: typer.Context, as_json: AsJson = False) -> None:
    """List all links, the most similar first."""
    answer = _call(context, "links")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
    elif answer["links"]:
        _show_links("links", answer["links"])
    else:
        _say("There are no links yet.")


def accept(context: typer.Context, link: LinkName, as_json: AsJson = False) -> None:
    """Accept a link: the partner's contact is shown once it has accepted too.

    Both hospitals then see each other's contact of the roster, and nothing else of the patient.
    """
    answer = _call(context, "accept", link=link)
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    (found,) = answer["links"]
    if found["contact"]:
        _say(f"Both have accepted. Write to {found['contact']} and name link {link}.")
    else:
        _say(f"Accepted here. {found['partner']} has not accepted.")
    _say_untold(answer, found["partner"], "Accept again to tell it later.")


def refuse(context: typer.Context, link: LinkName, as_json: AsJson = False) -> None:
    """Refuse a link for good. The partner is told nothing."""
    answer = _call(context, "refuse", link=link)
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
    else:
        _say(f"Refused link {link}.")


def clusters(context: typer.Context, as_json: AsJson = False) -> None:
    """Join the links of all partners: patients here and elsewhere who may share a disorder, one row a link.

    Whether two partners' patients are one person, nobody can tell: their pseudonyms are not related.
    """
    from client.discovery.clusters import COLUMNS
    from common.consortium.console import show_table

    found = _call(context, "clusters")["clusters"]
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    elif found:
        rows = [(str(n), *_row(link)[1:], link["link"]) for n, one in enumerate(found, 1) for link in one["links"]]
        show_table("clusters", COLUMNS, rows)
    else:
        _say("There are no links yet.")


def remaining(context: typer.Context, as_json: AsJson = False) -> None:
    """Show who may be compared, and how many rows are left with each partner within a year."""
    from common.consortium.console import show_table

    answer = _call(context, "remaining")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    names = answer["patients"]
    _say(f"{len(names)} patients here may be compared{': ' if names else ''}{', '.join(names[:16])}")
    rows = [(entry["partner"], str(entry["to_ask"]), str(entry["to_answer"])) for entry in answer["partners"]]
    show_table("rows left within a year", ("partner", "to ask it", "for it to ask here"), rows)


def _call(context: typer.Context, operation: str, **values: Any) -> dict[str, Any]:
    from client.local.clinic_door import door_at
    from client.local.door import call

    return call(door_at(context.obj), f"discover.{operation}", values)


def _show_links(title: str, found: list[dict[str, Any]]) -> None:
    from common.consortium.console import show_table

    columns = ("link", "patient", "hospital", "their patient", "similarity", "state", "contact")
    show_table(title, columns, [(*_row(link), link["contact"] or "") for link in found])


def _row(link: dict[str, Any]) -> tuple[str, ...]:
    similarity = f"{link['similarity']:.2f}"
    return (link["link"], link["patient"], link["partner"], link["their_patient"][:8], similarity, link["state"])


def _say_untold(answer: dict[str, Any], partner: str, remedy: str) -> None:
    if answer["untold"]:
        _say(f"Warning: {partner} was not told ({answer['untold']}). {remedy}")


def _say(text: str) -> None:
    from common.consortium.console import say

    say(text)
