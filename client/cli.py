"""``phenofed silo``: what hospital IT does with a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.agent_cli import add_to
from client.audit.cli import register as register_audit
from client.discovery.cli import register as register_discovery
from client.patients.consent_cli import register as register_consent
from client.patients.import_cli import bring_in
from client.plans.cli import register as register_plans
from client.preflight.cli import check
from client.workspace.adopt_cli import register as register_adopt
from client.workspace.members_cli import register as register_members
from client.workspace.rotate_cli import register as register_rotate
from common.errors import AgentError, ConfigError

if TYPE_CHECKING:
    from client.workspace.workspace import Workspace
    from common.consortium.kit import Kit

_HELP = """Run a hospital's part: keys, patients, policy, members.

Start with init, send request.json to the operator, install the answer with join, bring patients in with import."""
_EPILOG = "Exit codes: 0 done, 2 wrong usage, 3 refused input, 4 cohort, 6 face detector, 8 keys, 12 workspace."

Folder = Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The silo's folder.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="The words were compared: do not ask.")]


def application() -> typer.Typer:
    """The commands under ``phenofed silo``."""
    silo = typer.Typer(help=_HELP, no_args_is_help=True, epilog=_EPILOG)
    for command in (init, join, labels, check):
        silo.command(epilog=_EPILOG)(command)
    silo.command("import", epilog=_EPILOG)(bring_in)
    add_to(silo)
    register_adopt(silo)
    register_audit(silo)
    register_consent(silo)
    register_members(silo)
    register_discovery(silo)
    register_plans(silo)
    register_rotate(silo)
    return silo


def register(app: typer.Typer) -> None:
    """Add ``silo`` to the application."""
    app.add_typer(application(), name="silo")


def init(
    folder: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="New folder for the silo.")],
    name: Annotated[str, typer.Option(help="The roster name to ask for: 1 to 40 of a-z, 0-9 and '-'.")],
    contact: Annotated[str, typer.Option(metavar="MAIL", help="Whom others may write to.")],
    title: Annotated[str, typer.Option(help="The hospital's name for people.")] = "",
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="Seal the keys with this key file, made if it does not exist, in place of a passphrase.",
        ),
    ] = None,
) -> None:
    """Make the silo's keys on site, and a request that holds nothing secret.

    Send WORKSPACE/request.json to the operator, and read the twelve words to them by telephone. Without --key-file
    the passphrase comes from PHENOFED_PASSPHRASE, from the file that PHENOFED_PASSPHRASE_FILE names, or from the
    keyboard; an agent that starts by itself needs one of the others.

    Example: phenofed silo init workspace --name clinic-a --contact faces@clinic-a.example --key-file silo.key
    """
    from client.workspace.key_file import SiloKeys, write_keys
    from client.workspace.workspace import About, check_new, create_workspace
    from common.consortium.certificates import key_from_pem
    from common.consortium.console import say
    from common.consortium.fields import check_name
    from common.consortium.request import write_request
    from common.consortium.unlocking import choose_secret
    from common.consortium.words import fingerprint_words
    from common.storage import write_bytes

    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(f"--name: {error}", remedy="choose another name") from error
    check_new(folder)
    keys = SiloKeys.generate(name)
    request = write_request(keys.member, key_from_pem(keys.tls_key), title=title, contact=contact)
    secret = choose_secret(key_file, whose=f"the keys of {name}")
    made = create_workspace(folder, About(name=name, key_file=key_file and key_file.resolve()), secret)
    write_keys(folder / "private.key", keys, secret)
    write_bytes(made.folder / "request.json", request)
    say(f"made the keys of {name}; they stay in {folder}")
    say(f"your words: {fingerprint_words(keys.member.card.fingerprint)}")
    say(f"next: send {folder / 'request.json'} to the operator, and read out the words")


def join(
    folder: Folder,
    kit: Annotated[Path, typer.Argument(metavar="KIT", help="The .zip file that the operator sent.")],
    roster_key: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS", help="The words or the fingerprint of the offline key, as the operator told them."
        ),
    ] = None,
    new_key: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS", help="The words of another offline key: the pinned one was lost or stolen. See below."
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    """Install the operator's kit, or a newer roster and registry.

    At the first time the consortium's offline key is pinned: compare its words with the operator by another way
    than the kit. The members of that roster are accepted with it, later ones by phenofed silo members accept.
    Later kits must be signed by that key; older ones, and ones that do not continue what is held here, are
    refused. Your own policy.yaml is never replaced.

    An offline key that the pinned one handed over to is taken in by itself. If that key was lost or stolen, nobody
    can vouch for the next one: the operator tells every hospital its words by telephone, and each joins once with
    its own kit and --new-key. Give them only if you know the voice.

    Example: phenofed silo join workspace clinic-a.zip --roster-key "twelve words as the operator said them"
    """
    from client.audit.opening import written_down
    from client.workspace.joining import alone_in, examine, install
    from client.workspace.tls_rotation import end_rotation, listed_tls, request_for
    from common.consortium.console import read_file, say
    from common.consortium.kit import MAX_BYTES, read_kit

    workspace = _workspace(folder)
    brought = read_kit(read_file(kit, limit=MAX_BYTES))
    request = request_for(workspace, listed_tls(workspace.name, brought.roster, brought.offline_key))
    first = workspace.about.offline_key is None
    if new_key is not None:
        _settle_key(brought, new_key, first=False, yes=yes)
    with alone_in(workspace):
        admission = examine(brought, workspace, request, anew=new_key is not None)
        _settle_key(brought, roster_key, first=first and new_key is None, yes=yes)
        if new_key is None:
            install(admission, workspace)
        else:
            with written_down(workspace, "offline-key.anew", key=brought.offline_key.hex()):
                install(admission, workspace)
        end_rotation(workspace, request)
    version = admission.registry.version if admission.registry else "none yet"
    say(f"{workspace.name} has roster {admission.roster.sequence} of {brought.consortium}, registry {version}")
    if first:
        others = [member.name for member in admission.roster.members if member.name != workspace.name]
        say(f"accepted with this roster: {', '.join(others) or 'nobody else yet'}")
        say(f"next: read {folder / 'policy.yaml'}, then phenofed silo import {folder} PATIENTS")


def labels(
    folder: Folder,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="LABEL=KEY", help="Map an own label to a key of the registry; repeatable."),
    ] = None,
) -> None:
    """List the labels of the silo's patients and the registry's rows that they belong to, unmapped ones first.

    A label is found by itself or by its OMIM, ORPHA or MONDO identifiers. What stays unmapped is in no gallery:
    map it, or ask the operator to add it to the registry.

    Example: phenofed silo labels workspace --map "CdLS=OMIM:122470"
    """
    from client.workspace.labels import map_labels, read_labels, write_labels
    from common.cohort import store
    from common.consortium.console import say, show_table

    workspace = _workspace(folder)
    registry = workspace.registry()
    chosen = read_labels(workspace.labels_path)
    if mapping:
        chosen |= dict(_pair(text) for text in mapping)
        write_labels(workspace.labels_path, chosen, registry)
    cohort = store.load(workspace.cohort_folder).cohort
    found = map_labels(registry, cohort.syndromes, chosen)
    rows = []
    for syndrome in sorted(cohort.syndromes, key=lambda syndrome: syndrome.key in found.rows):
        count = sum(patient.syndrome == syndrome.key for patient in cohort.patients)
        row = found.rows.get(syndrome.key)
        known = ("unmapped", "") if row is None else (registry.entries[row].key, registry.entries[row].name)
        rows.append((syndrome.key, syndrome.name, str(count), *known))
    show_table(f"registry {registry.version}", ("label", "name", "patients", "key", "registry name"), rows)
    say(f"{len(found.rows)} labels are mapped, {len(found.unmapped)} are not and stay out of the gallery")


def _workspace(folder: Path) -> Workspace:
    from client.workspace.workspace import Workspace

    return Workspace(folder)


def _settle_key(kit: Kit, said: str | None, *, first: bool, yes: bool) -> None:
    """Make sure, before anything is written, that the kit's offline key is the consortium's."""
    from common.consortium.console import confirm, say
    from common.consortium.words import fingerprint_words, key_fingerprint, names

    fingerprint = key_fingerprint(kit.offline_key)
    if said is not None and not names(said, fingerprint):
        raise AgentError(
            "the kit's offline key is not the one that was named",
            remedy="do not install it; compare the words with the operator by telephone",
        )
    if said is None and first:
        say(f"the offline key of {kit.consortium}: {fingerprint_words(fingerprint)}")
        confirm("Did the operator tell you the same words, by another way than this kit?", yes=yes)


def _pair(text: str) -> tuple[str, str]:
    label, equals, key = text.rpartition("=")
    if not equals or not label.strip() or not key.strip():
        raise ConfigError(f"--map: '{text}' is no LABEL=KEY", remedy="write it as 'own label=OMIM:122470'")
    return label.strip(), key.strip()
