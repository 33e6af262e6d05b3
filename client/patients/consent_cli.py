"""``phenofed silo consent show|set|withdraw``: what patients agreed to, as it holds on site."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.cohort import cli as cohorts
from common.cohort.schema import Consent, Purpose

if TYPE_CHECKING:
    from client.patients.participation import Part
    from client.workspace.workspace import Workspace

_HELP = """Show, set and withdraw what patients agreed to: train, match, discover, display, each until a day.

What is set or withdrawn here goes before every later import: an import can take away from it, never give back."""
_EPILOG = "Exit codes: 0 done, 2 wrong usage, 3 settings, 4 no such patient, 12 workspace or agent."
SOON = 90
"""Days ahead for which ``show`` counts the consents that end."""

Folder = Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The silo's folder.")]
Id = Annotated[str, typer.Argument(metavar="PATIENT", help="The patient's pseudonymous id.")]


def register(silo: typer.Typer) -> None:
    """Offer the commands under ``phenofed silo consent``."""
    application = typer.Typer(help=_HELP, no_args_is_help=True, epilog=_EPILOG)
    application.command(epilog=_EPILOG)(show)
    application.command("set", epilog=_EPILOG)(set_to)
    application.command(epilog=_EPILOG)(withdraw)
    silo.add_typer(application, name="consent")


def show(
    folder: Folder,
    patient: Annotated[
        str | None, typer.Argument(metavar="[PATIENT]", help="One patient; without it, counts.")
    ] = None,
) -> None:
    """Show one patient's consent and the runs trained with their data, or counts by purpose and expiry."""
    from client.workspace.workspace import Workspace

    workspace = Workspace(folder)
    if patient is None:
        _show_counts(workspace)
    else:
        _show_patient(workspace, patient)


def set_to(
    folder: Folder,
    patient: Id,
    purposes: Annotated[str, typer.Option(help="All that the patient agrees to, such as train,match; or none.")],
    expires: cohorts.ExpiresOption = None,
    alone: Annotated[
        bool, typer.Option("--alone/--not-alone", help="Agreed to be a gallery row of one's own.")
    ] = False,
) -> None:
    """Set what a patient agrees to, in place of everything before; also after a withdrawal.

    A patient who had left comes back with the next import.

    Example: phenofed silo consent set workspace P-17 --purposes train,match --expires 2031-12-31
    """
    from client.audit.opening import open_log, this_user
    from client.patients.patient_key import PatientKey
    from client.patients.withdrawal import settle
    from client.workspace.workspace import Workspace

    workspace = Workspace(folder)
    consent = cohorts.stated_consent(purposes, expires).model_copy(update={"alone": alone})
    stored = settle(workspace, patient, consent, datetime.date.today())
    typer.echo(f"{patient}: {_in_words(consent)}")
    if not stored and consent.purposes:
        typer.echo("the patient's photos are not stored: import them again")
    _look(workspace, None if consent.allows(Purpose.MATCH, datetime.date.today()) else patient)
    token = PatientKey(folder).token(patient)
    open_log(workspace).record("consent.set", this_user(), patient=token, purposes=_listed(consent))


def withdraw(
    folder: Folder,
    patient: Id,
    purpose: Annotated[
        Purpose | None, typer.Option(help="Withdraw from this purpose only; default: from everything.")
    ] = None,
) -> None:
    """Take back a patient's consent: crops go at once, and every gallery row the patient is in stops answering.

    The row answers again from a later gallery epoch, once at least three of its patients have changed: sooner,
    the difference would show the one who left. No later round trains with the patient. What was learnt before
    stays in the weights; the runs and releases concerned are named.

    Example: phenofed silo consent withdraw workspace P-17
    """
    from client.audit.opening import open_log, this_user
    from client.patients.patient_key import PatientKey
    from client.patients.withdrawal import withdraw as withdrawn
    from client.workspace.workspace import Workspace

    workspace = Workspace(folder)
    done = withdrawn(workspace, patient, purpose, datetime.date.today())
    what = purpose.value if purpose else "everything"
    typer.echo(f"{patient} is withdrawn from {what}; {done.photos} crops were removed")
    _show_parts(done.parts)
    _look(workspace, patient if purpose in (None, Purpose.MATCH) else None)
    log, token = open_log(workspace), PatientKey(folder).token(patient)
    purposes = purpose.value if purpose else _listed(Consent(purposes=frozenset(Purpose)))
    log.record("withdraw", this_user(), patient=token, purposes=purposes, photos=done.photos)
    for part in done.parts:
        log.record("withdraw.trained", this_user(), patient=token, run=part.run)
        for release in part.releases:
            log.record("withdraw.released", this_user(), patient=token, run=part.run, release=release)


def _look(workspace: Workspace, patient: str | None) -> None:
    from client.patients.withdrawal import close_rows

    running = close_rows(workspace, patient)
    typer.echo(
        "the agent has looked at consents" if running else "the agent looks at consents before it serves again"
    )


def _show_patient(workspace: Workspace, patient: str) -> None:
    from client.patients.consents import SiteConsents
    from client.patients.participation import Participation
    from client.patients.stored_patients import held
    from common.errors import CohortError

    stored = held(workspace)
    found = next((p for p in stored.cohort.patients if p.id == patient), None) if stored else None
    decided = SiteConsents(workspace.folder).decided(patient)
    if found is None and decided is None:
        raise CohortError(f"no patient '{patient}' is stored", remedy="name the patient as the import did")
    typer.echo(f"{patient}: {_in_words(found.consent) if found else 'not stored'}")
    if decided is not None:
        typer.echo(f"decided on site: at most {_in_words(decided)}")
    _show_parts(Participation(workspace.folder).of(patient))


def _show_counts(workspace: Workspace) -> None:
    from client.patients.consents import SiteConsents
    from client.patients.stored_patients import required
    from common.consortium.console import show_table

    today = datetime.date.today()
    soon = today + datetime.timedelta(days=SOON)
    patients = required(workspace).cohort.patients
    withdrawn = SiteConsents(workspace.folder).withdrawn()
    rows = []
    for purpose in Purpose:
        granted = [p.consent for p in patients if purpose in p.consent.purposes]
        valid = [consent for consent in granted if consent.allows(purpose, today)]
        rows.append(
            (
                purpose.value,
                str(len(valid)),
                str(sum(consent.expires is None for consent in valid)),
                str(sum(consent.expires is not None and consent.expires <= soon for consent in valid)),
                str(len(granted) - len(valid)),
                str(withdrawn[purpose]),
            )
        )
    columns = (
        "purpose",
        "agree today",
        "without a last day",
        f"end within {SOON} days",
        "ended",
        "withdrew from it",
    )
    show_table(f"{len(patients)} patients", columns, rows)
    typer.echo(f"{withdrawn[None]} patients withdrew from everything")


def _show_parts(parts: tuple[Part, ...]) -> None:
    for part in parts:
        releases = f"; releases made of it: {', '.join(part.releases)}" if part.releases else ""
        typer.echo(f"trained with the patient: run {part.run}{releases}")


def _in_words(consent: Consent) -> str:
    until = f" until {consent.expires}" if consent.expires else ""
    return f"{_listed(consent)}{until}{', may stand alone' if consent.alone else ''}"


def _listed(consent: Consent) -> str:
    return ",".join(purpose.value for purpose in Purpose if purpose in consent.purposes) or "none"
