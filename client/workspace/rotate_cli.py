"""``phenofed silo rotate``: a new TLS key for a hospital that stays the member that it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_EPILOG = "Exit codes: 0 done, 2 wrong usage, 8 keys, 12 workspace."


def register(silo: typer.Typer) -> None:
    """Add ``rotate`` to the silo's commands."""
    silo.command(epilog=_EPILOG)(rotate)


def rotate(
    folder: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The silo's folder.")],
) -> None:
    """Make a new TLS key, and a request for its certificate that the operator adds like the first one.

    The identity that other hospitals accepted stays, and so do the query keys (silo keys rotates those). Until the
    answer is installed with silo join the old key is used; a running agent goes over to the new one by itself. The
    relay knows one key of each silo: between the operator's new roster and silo join it refuses this hospital.

    Example: phenofed silo rotate workspace
    """
    from client.audit.opening import written_down
    from client.workspace.tls_rotation import NEW_REQUEST, begin_rotation
    from client.workspace.workspace import Workspace
    from common.consortium.console import say
    from common.consortium.words import fingerprint_words

    workspace = Workspace(folder)
    with written_down(workspace, "tls-key.new"):
        begin_rotation(workspace)
    say(f"made a new TLS key; send {folder / NEW_REQUEST} to the operator, and join with the answer")
    say(f"your words stay: {fingerprint_words(workspace.member().card.fingerprint)}")
