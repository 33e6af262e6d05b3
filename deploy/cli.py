"""``phenofed consortium``: the operator's commands. They work on files, offline, and never touch a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import ConfigError
from deploy.rotate_cli import rotate

if TYPE_CHECKING:
    from deploy.folder import ConsortiumFolder, OfflineKeys

_HELP = """Found a consortium and say who belongs to it. Works offline, on a folder that stays with the operator.

The folder holds the offline key, which signs the roster and the syndrome registry, and the key of the root that
issues certificates; both are sealed with a passphrase or a key file. Neither belongs on a server."""
_EPILOG = "Exit codes: 0 done, 2 wrong usage, 3 refused input, 4 cohort, 8 keys."
_MAX_REQUEST = 16 << 10

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The operator's folder.")]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="Key file that opens the keys, in place of a passphrase; the one of init is remembered.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="The words were compared: do not ask.")]


def register(app: typer.Typer) -> None:
    """Add ``consortium`` and its commands to the application."""
    consortium = typer.Typer(help=_HELP, no_args_is_help=True, epilog=_EPILOG)
    for command in (init, add, revoke, rotate, registry, plan, show):
        consortium.command(epilog=_EPILOG)(command)
    consortium.command("release-key", epilog=_EPILOG)(release_key)
    app.add_typer(consortium, name="consortium")


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder of the operator.")],
    name: Annotated[str, typer.Option(help="The consortium's name: 1 to 40 of a-z, 0-9 and '-'.")],
    relay: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where hospitals will reach the relay.")],
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="Seal the keys with this key file, made if it does not exist, in place of a passphrase.",
        ),
    ] = None,
) -> None:
    """Found a consortium: offline key, root certificate, the relay's files, a roster without members.

    Copy FOLDER/relay to the relay's machine and start it with phenofed coordinator up. Tell every hospital the
    twelve words of the offline key by another way than the kit. Without --key-file, the passphrase comes from
    PHENOFED_PASSPHRASE, from the file that PHENOFED_PASSPHRASE_FILE names, or from the keyboard.

    Example: phenofed consortium init rare-faces --name rare-faces --relay relay.example.org:443
    """
    from common.consortium.console import say
    from common.consortium.fields import check_name, split_address
    from common.consortium.unlocking import choose_secret
    from deploy.membership import found

    try:
        check_name(name)
        split_address(relay)
    except ValueError as error:
        raise ConfigError(str(error), remedy="see phenofed consortium init --help") from error
    secret = choose_secret(key_file, whose="the offline keys")
    policy = (Path(__file__).parent / "policy.yaml").read_text()
    made = found(folder, name=name, relay=relay, secret=secret, key_file=key_file, policy=policy)
    say(f"founded {name}; keep {folder} offline and a copy of it elsewhere")
    _say_key(made)
    say(f"next: copy {folder / 'relay'} to the relay's machine; publish a registry; add hospitals")


def add(
    folder: Folder,
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="request.json of the hospital.")],
    yes: Yes = False,
    key_file: KeyFileOption = None,
) -> None:
    """Add a hospital: check its request, sign a new roster, write its kit.

    Compare the words with the hospital, by telephone, before you confirm: they stand for its keys. The kit holds
    no private key. Nobody else's certificate changes; the others take the new roster from kits/everybody.zip.

    Asking again for a member renews its certificate.

    Example: phenofed consortium add rare-faces requests/clinic-a.json
    """
    from common.consortium.console import confirm, read_file, say
    from common.consortium.request import read_request
    from common.consortium.words import fingerprint_words
    from deploy import membership

    found = _folder(folder)
    content = read_file(request, limit=_MAX_REQUEST)
    wanted = read_request(content)
    say(f"{wanted.card.name}: {wanted.title or 'no title'}, {wanted.contact}")
    say(f"its words: {fingerprint_words(wanted.card.fingerprint)}")
    confirm(f"Did {wanted.card.name} read out the same words?", yes=yes)
    with found.locked():
        kit = membership.add(found, wanted, content, _keys(found, key_file))
    say(f"roster {found.roster().sequence}; send {kit} to {wanted.contact}")


def revoke(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The member's roster name.")],
    yes: Yes = False,
    key_file: KeyFileOption = None,
) -> None:
    """Revoke a hospital: sign a roster without it.

    The relay refuses it as soon as it has the new roster (FOLDER/relay/roster.json); the other hospitals as soon
    as they have joined with kits/everybody.zip. Nobody else's certificate changes.
    """
    from common.consortium.console import confirm, say
    from deploy import membership

    found = _folder(folder)
    member = found.roster().member(name)
    confirm(f"Revoke {name} ({member.title or member.contact})?", yes=yes)
    with found.locked():
        membership.revoke(found, name, _keys(found, key_file))
    say(f"roster {found.roster().sequence} has no {name}; copy {folder / 'relay' / 'roster.json'} to the relay")


def registry(
    folder: Folder,
    sources: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", metavar="SOURCE", help="A CSV file, or the folder of an imported cohort; may be repeated."
        ),
    ] = None,
    key_file: KeyFileOption = None,
) -> None:
    """Publish the syndrome registry, or list it: what counts as one disorder, and the rows of every gallery.

    A CSV file has the columns key, name, identifiers (OMIM, ORPHA, MONDO or a gene, with ';' between), genes,
    group (phenotypic series) and was (earlier keys, for renames, merges and splits). It is the whole list: what it
    leaves out is retired. A cohort only adds. Rows never move, so that galleries and budgets stay valid.

    Example: phenofed consortium registry rare-faces --from syndromes.csv
    """
    from common.consortium.console import say, show_table
    from common.consortium.syndromes import Registry
    from deploy.registry import read_source, revise

    found = _folder(folder)
    known = found.registry()
    if not sources:
        if known is None:
            raise ConfigError("there is no registry yet", remedy="give --from FILE")
        rows = [(str(i), e.key, e.name, e.group, "retired" * e.retired) for i, e in enumerate(known.entries)]
        show_table(f"registry {known.version}", ("row", "key", "name", "group", ""), rows)
        return
    with found.locked():
        entries = known.entries if known else ()
        for source in sources:
            listed, whole = read_source(source)
            entries = revise(entries, listed, whole=whole)
        if known is not None and entries == known.entries:
            say(f"registry {known.version} stays as it is")
            return
        new = known.succeeded_by(entries) if known else Registry(found.about.name, entries)
        found.publish_registry(new, _keys(found, key_file))
    retired = sum(entry.retired for entry in entries)
    say(f"registry {new.version}: {len(entries) - retired} syndromes, {retired} retired rows")
    say(f"members take it from {folder / 'kits' / 'everybody.zip'}")


def release_key(
    folder: Folder,
    public: Annotated[Path, typer.Argument(metavar="FILE", help="release.pub of the registry of releases.")],
    yes: Yes = False,
    key_file: KeyFileOption = None,
) -> None:
    """Name the key that signs releases, in a new roster: members load no release that another key signed.

    The key is made by phenofed release key where releases are published, and stays there. Naming another one ends
    the trust in all releases of the one before; sign them anew in a new registry.

    Example: phenofed consortium release-key rare-faces releases/release.pub
    """
    from common.consortium.console import confirm, say
    from common.consortium.words import fingerprint_words, key_fingerprint
    from common.releases.key_text import read_public
    from deploy import membership

    found, key = _folder(folder), read_public(public)
    say(f"the words of the release key: {fingerprint_words(key_fingerprint(key))}")
    confirm("Did phenofed release key show the same words?", yes=yes)
    with found.locked():
        membership.name_release_key(found, key, _keys(found, key_file))
    say(f"roster {found.roster().sequence} names it; members take it from {folder / 'kits' / 'everybody.zip'}")


def plan(
    folder: Folder,
    draft: Annotated[Path, typer.Argument(metavar="DRAFT", help="YAML: who trains what, how, until when.")],
    key_file: KeyFileOption = None,
) -> None:
    """Sign a run's plan. Hospitals approve it with phenofed silo plans, then phenofed coordinator train leads it.

    The keys stand in docs/training.md; silos, model, training and expires are the least. What was signed under a
    run's name stays: another plan needs another name.

    Example: phenofed consortium plan rare-faces spring.yaml
    """
    from common.consortium.console import say
    from deploy.plans import read_draft, sign

    found = _folder(folder)
    drafted = read_draft(found, draft)
    with found.locked():
        path = sign(found, drafted, _keys(found, key_file))
    say(f"signed the plan of run {drafted.run}, digest {drafted.digest[:12]}; it ends on {drafted.expires}")
    say(f"next: send {path} to {', '.join(drafted.silos)}; they answer with approvals")


def show(folder: Folder) -> None:
    """Show the consortium: its keys with their dates, its members with theirs, and when certificates end."""
    from common.consortium.certificates import read_certificate
    from common.consortium.console import read_file, say, show_table
    from common.consortium.words import fingerprint_words
    from deploy.listing import keys_of

    found = _folder(folder)
    roster, known = found.roster(), found.registry()
    _say_key(found)
    say(f"relay {roster.relay}; registry {known.version if known else 'none yet'}")
    show_table("keys", ("key", "since", "until", "fingerprint"), keys_of(found))
    rows = []
    for member in roster.members:
        path = folder / "members" / member.name / "certificate.pem"
        ends = read_certificate(read_file(path, limit=1 << 16)).not_valid_after_utc.date()
        words = fingerprint_words(member.card.fingerprint)
        rows.append((member.name, member.title, member.contact, str(ends), words))
    show_table(
        f"{roster.consortium}, roster {roster.sequence}", ("name", "title", "contact", "until", "words"), rows
    )


def _folder(path: Path) -> ConsortiumFolder:
    from deploy.folder import ConsortiumFolder

    return ConsortiumFolder(path)


def _keys(folder: ConsortiumFolder, key_file: Path | None) -> OfflineKeys:
    from common.consortium.unlocking import find_secret

    return folder.keys(find_secret(key_file or folder.about.key_file, whose="the offline keys"))


def _say_key(folder: ConsortiumFolder) -> None:
    from common.consortium.console import say
    from common.consortium.words import fingerprint_words, key_fingerprint

    fingerprint = key_fingerprint(folder.offline_key)
    say(f"the words of the offline key: {fingerprint_words(fingerprint)}")
    say(f"its fingerprint: {fingerprint.hex()}")
