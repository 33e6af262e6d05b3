"""``phenofed release``: sign models of finished runs, and say which one silos should adopt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from server.releases.registry import ReleaseRegistry

_HELP = """Publish signed releases of the model, and say which one is current.

A release is a folder with the weights, a manifest, a model card and a signature. It is a candidate until it is
promoted; a promoted one can be rolled back. Hospitals install what they are sent with phenofed silo adopt, and
load nothing that the consortium's release key did not sign.

Begin with key, name the key in the roster with phenofed consortium release-key, then publish a finished run."""
_EPILOG = "Exit codes: 0 done, 2 wrong usage, 3 refused input, 6 the release is refused, 8 keys, 9 run or disk."

Folder = Annotated[Path, typer.Argument(metavar="REGISTRY", help="The folder of the releases.")]
Name = Annotated[str, typer.Argument(metavar="RELEASE", help="Its number, its id, or the id's beginning.")]
OptionalName = Annotated[
    str | None, typer.Argument(metavar="RELEASE", help="Its number or id; the current one if left out.")
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="Key file that opens the release key; by default the one it was made with.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add ``release`` and its commands to the application."""
    release = typer.Typer(help=_HELP, no_args_is_help=True, epilog=_EPILOG)
    release.command("list", epilog=_EPILOG)(list_releases)
    for command in (key, pretrained, publish, show, promote, rollback, verify, export):
        release.command(epilog=_EPILOG)(command)
    app.add_typer(release, name="release")


def key(
    folder: Annotated[Path, typer.Argument(metavar="REGISTRY", help="New folder for releases.")],
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="Seal the key with this key file, made if it does not exist, in place of a passphrase.",
        ),
    ] = None,
) -> None:
    """Make the key that signs releases, and an empty registry around it.

    The private half stays here, sealed. Take REGISTRY/release.pub to the operator's offline folder, and compare
    the words there. Whoever has this key can sign models that hospitals will load, and nothing else.

    Example: phenofed release key releases --key-file release-keyfile
    """
    from common.consortium.console import say
    from common.consortium.unlocking import choose_secret
    from common.consortium.words import fingerprint_words, key_fingerprint
    from server.releases.key import PUBLIC, check_new, make_key

    check_new(folder)
    public = make_key(folder, choose_secret(key_file, whose="the release key"), key_file)
    say(f"the words of the release key: {fingerprint_words(key_fingerprint(public))}")
    say(f"next: phenofed consortium release-key FOLDER {folder / PUBLIC}")


def pretrained(
    folder: Folder,
    backbone: Annotated[Path, typer.Option(metavar="FILE", help="The pretrained network.")],
    architecture: Annotated[str, typer.Option(help="thin, iresnet18|34|50|100, mobilefacenet or onnx.")],
    sha256: Annotated[
        str | None, typer.Option(help="The file's SHA-256; may be left out where our manifest lies beside it.")
    ] = None,
    normalisation: Annotated[str | None, typer.Option(help="arcface or imagenet; likewise.")] = None,
    views: Annotated[int, typer.Option(help="Views of each photo in an embedding: 1, 2 or 4.")] = 2,
    name: Annotated[str, typer.Option(help="Where it comes from: the first part of its id.")] = "pretrained",
    key_file: KeyFileOption = None,
) -> None:
    """Sign a pretrained network as it came, as a candidate: a consortium can rank before it has trained.

    The network's own file does not travel: every hospital has it already, and its hash is part of the release.

    Example: phenofed release pretrained releases --backbone iresnet50.safetensors --architecture iresnet50
    --normalisation arcface --sha256 9f86d081...
    """
    from common.config import parse
    from common.consortium.console import say
    from common.consortium.unlocking import find_secret
    from common.learning.plan import TrainingPlan
    from common.models.specs import BackboneSpec
    from common.releases.manifest import Encoding
    from server.releases import publishing
    from server.releases.key import open_key
    from server.releases.pretrained import UNTOUCHED, pretrained_model

    registry = _registry(folder)
    fields = {
        "architecture": architecture,
        "path": str(backbone),
        "sha256": sha256,
        "normalisation": normalisation,
    }
    spec = parse(fields, BackboneSpec, origin="the options")
    encoding = parse({"views": views}, Encoding, origin="the options")
    model = pretrained_model(spec, TrainingPlan(), encoding, name=name)
    secret = find_secret(key_file or registry.about.key_file, whose="the release key")
    listed = publishing.publish(registry, model, UNTOUCHED, open_key(folder, secret), purposes=())
    say(f"release {listed.number}, {listed.id}, is {registry.state(listed.id)}")
    say(f"its backbone has SHA-256 {model.manifest.backbone.sha256}")
    say(f"next: phenofed release promote {folder} {listed.number}")


def publish(
    folder: Folder,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A finished simulation, or a run of the coordinator.")
    ],
    name: Annotated[str | None, typer.Option(help="What people call it; by default the run's name.")] = None,
    parent: Annotated[
        str | None, typer.Option(metavar="RELEASE", help="The release that training began from.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="SHA256", help="The training plan that silos approved.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Accuracies for the card, laid out as a simulation's results.json."),
    ] = None,
    key_file: KeyFileOption = None,
) -> None:
    """Sign a run's federated model with its model card, as a candidate; publishing it again changes nothing.

    The card is made from what the run knows of itself; plan and parent are those of a coordinator's plan. A
    coordinator has no patients to measure on: figures come by --figures, or the card says that none are recorded.
    Read it (phenofed release show) before you promote.

    Example: phenofed release publish releases runs/demo --name "demo model"
    """
    from common.consortium.console import say
    from common.consortium.unlocking import find_secret
    from server.releases import publishing
    from server.releases.finished_run import read_run, with_figures
    from server.releases.key import open_key

    registry = _registry(folder)
    begun = registry.find(parent).id if parent else None
    finished = read_run(run)
    facts = finished.facts if figures is None else with_figures(finished.facts, figures)
    secret = find_secret(key_file or registry.about.key_file, whose="the release key")
    listed = publishing.publish(
        registry,
        finished.model,
        facts,
        open_key(folder, secret),
        name=name,
        parent=begun or finished.parent,
        plan=plan or finished.plan,
    )
    say(f"release {listed.number}, {listed.id}, is {registry.state(listed.id)}")
    say(f"next: phenofed release show {folder} {listed.number}, then promote it")


def list_releases(folder: Folder) -> None:
    """List the releases and what became of them."""
    from common.consortium.console import show_table

    registry = _registry(folder)
    rows = [
        (str(entry.number), entry.id, registry.state(entry.id), f"{entry.published:%Y-%m-%d %H:%M}")
        for entry in registry.releases
    ]
    show_table("releases", ("number", "id", "state", "published (UTC)"), rows)


def show(folder: Folder, release: OptionalName = None) -> None:
    """Show a release: its verified model card, and its history in this registry.

    Example: phenofed release show releases 2
    """
    from common.consortium.console import say
    from common.releases.manifest import CARD

    registry = _registry(folder)
    chosen = _chosen(registry, release)
    registry.read(chosen)
    for line in (registry.place(chosen) / CARD).read_text().splitlines():
        say(line)
    say(f"state here: {registry.state(chosen)}")
    for event in registry.history:
        if event.release == chosen:
            say(f"{event.at:%Y-%m-%d %H:%M} UTC: {event.what}")


def promote(folder: Folder, release: Name) -> None:
    """Make a release the current one, once it verifies; the one before is retired and can be rolled back to.

    Example: phenofed release promote releases 2
    """
    from common.consortium.console import say

    registry = _registry(folder)
    registry.promote(release)
    say(f"{registry.current} is current")
    say(f"next: phenofed release export {folder} release.zip, and send it to the hospitals")


def rollback(
    folder: Folder,
    release: Annotated[
        str | None, typer.Argument(metavar="RELEASE", help="Number or id; the one before if left out.")
    ] = None,
) -> None:
    """Return to the release that was current before, or to an earlier one by name. Nothing is deleted.

    Example: phenofed release rollback releases
    """
    from common.consortium.console import say

    say(f"{_registry(folder).rollback(release)} is current again")


def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="PATH", help="A registry, or a release's folder or .zip file.")
    ],
    public: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="release.pub to verify with; of a registry, its own."),
    ] = None,
) -> None:
    """Verify signature and every file: of all releases of a registry, or of one release by itself.

    Exit code 6 if one is refused; each is named.

    Example: phenofed release verify releases
    """
    from common.consortium.console import say
    from common.errors import ConfigError, WeightsError
    from common.releases.key_text import read_public
    from common.releases.package import read_files
    from common.releases.signing import verified
    from server.releases.key import ABOUT

    if not (folder / ABOUT).is_file():
        if public is None:
            raise ConfigError("no key to verify with", remedy="give --key release.pub, as the operator sent it")
        say(f"{verified(read_files(folder), read_public(public), folder).name}: signed and whole")
        return
    registry = _registry(folder)
    trusted = read_public(public) if public else registry.release_key
    refused = []
    for entry in registry.releases:
        place = registry.place(entry.id)
        try:
            verified(read_files(place), trusted, place)
            say(f"{entry.number} {entry.id}: signed and whole")
        except WeightsError as error:
            refused.append(entry.id)
            say(f"{entry.number} {entry.id}: {error.what}")
    if refused:
        raise WeightsError(f"refused: {', '.join(refused)}", remedy="restore them from a copy, or publish anew")


def export(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The .zip file to write.")],
    release: OptionalName = None,
) -> None:
    """Write a verified release as one .zip file for hospitals to adopt.

    Example: phenofed release export releases release.zip
    """
    from common.consortium.console import say
    from common.releases.package import read_files, write_zip
    from common.storage import write_bytes

    registry = _registry(folder)
    chosen = _chosen(registry, release)
    registry.read(chosen)
    write_bytes(file, write_zip(read_files(registry.place(chosen))))
    say(f"wrote {file}; hospitals install it with phenofed silo adopt")


def _registry(folder: Path) -> ReleaseRegistry:
    from server.releases.registry import ReleaseRegistry

    return ReleaseRegistry(folder)


def _chosen(registry: ReleaseRegistry, name: str | None) -> str:
    from common.errors import ConfigError

    if name is not None:
        return registry.find(name).id
    if registry.current is None:
        raise ConfigError("no release is current", remedy="name one, or promote one")
    return registry.current
