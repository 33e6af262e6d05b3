"""``phenofed silo adopt``: install a signed release, or go back to the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.errors import ConfigError


def register(silo: typer.Typer) -> None:
    """Offer the command under ``phenofed silo``."""
    epilog = (
        "Exit codes: 0 done, 2 wrong usage, 3 roster or policy, 6 the release was refused, 9 disk, 12 workspace."
    )
    silo.command(epilog=epilog)(adopt)


def adopt(
    folder: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The silo's folder.")],
    release: Annotated[
        Path | None, typer.Argument(metavar="RELEASE", help="The folder or .zip file that the operator sent.")
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Return to the release that was adopted before.")] = False,
) -> None:
    """Install a release of the consortium's model: ranking and training go on from it, with no training first.

    Its signature must be of the key that the roster names, and every file must be as it was signed; otherwise
    nothing changes. The release before stays, older ones are removed. What the model was made from, and how well
    it does, stands in card.md. The agent takes the release when it is started anew.

    Example: phenofed silo adopt workspace release.zip
    """
    from client.audit.opening import written_down
    from client.patients.released import note_release
    from client.workspace.adoption import USUAL_FOLDER, go_back
    from client.workspace.adoption import adopt as install
    from client.workspace.workspace import Workspace
    from common.consortium.console import say

    if (release is None) == (not back):
        raise ConfigError("name a release, or give --back", remedy="see phenofed silo adopt --help")
    workspace = Workspace(folder)
    with written_down(workspace, "release.adopt"):
        adopted = go_back(workspace) if release is None else install(workspace, release)
    note_release(workspace, adopted.release)
    manifest = adopted.release.manifest
    number = manifest.origin.number if manifest.origin else "-"
    say(f"{workspace.name} has release {number}, {adopted.release.name}; before: {adopted.before or 'none'}")
    model = workspace.policy().model
    if model is None:
        backbone = manifest.backbone
        say(f"next: in {folder / 'policy.yaml'} set model.release: {USUAL_FOLDER}, and model.backbone:")
        say(f"architecture: {backbone.architecture}, path: of your copy, sha256: {backbone.sha256 or 'none'}")
    elif workspace.socket_path.exists():
        say("next: start the agent anew")
