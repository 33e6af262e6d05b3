"""``phenofed consortium rotate``: new keys for a consortium that runs."""

from __future__ import annotations

import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from common.errors import ConfigError


class Rotated(StrEnum):
    """Which key is rotated."""

    RELAY = "relay"
    ROOT = "root"
    SIGNING = "signing"


def rotate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The operator's folder.")],
    which: Annotated[Rotated, typer.Argument(metavar="KEY", help="relay, root or signing.")],
    finish: Annotated[bool, typer.Option("--finish", help="root: end the trust in the one before.")] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="signing: the old keys were lost or stolen; nobody vouches for the new.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="FILE", help="Key file that opens the keys, in place of a passphrase."),
    ] = None,
) -> None:
    """Give the consortium a new key, at once or not at all. Kits and the relay's folder are renewed with it.

    relay: a new TLS key and certificate, for two years. Touches no hospital's certificate. Also what renews a
    certificate of the relay that ends.

    root: a new root, for ten years, beside the one before, and a new certificate for every hospital, whose keys
    stay. Once all have it, by the relay or by their kits, run it again with --finish: the relay's certificate is
    changed, and the old root counts no more.

    signing: a new offline key, named by the one before; hospitals follow, and are shown its words. With --anew the
    old one is not asked, and the root is new as well: tell every hospital the words by telephone; each joins with
    its own kit and silo join --new-key.

    Copy FOLDER/relay to the relay's machine afterwards. It needs no restart.

    Example: phenofed consortium rotate rare-faces relay
    """
    from common.consortium.console import confirm, say
    from common.consortium.unlocking import choose_secret, find_secret
    from common.consortium.words import fingerprint_words, key_fingerprint
    from deploy import rotation
    from deploy.folder import ConsortiumFolder

    if (finish and which is not Rotated.ROOT) or (anew and which is not Rotated.SIGNING):
        raise ConfigError("--finish is for the root, --anew for the signing key", remedy="see rotate --help")
    found, today = ConsortiumFolder(folder), datetime.datetime.now(tz=datetime.UTC).date()
    if anew:
        confirm("Were the keys lost or stolen? Every hospital must join again by hand.", yes=yes)
    elif finish:
        confirm("Does every hospital trust the new root? Who does not has to join with its kit.", yes=yes)
    whose, file = "the offline keys", key_file or found.about.key_file
    secret = choose_secret(file, whose=whose) if anew else find_secret(file, whose=whose)
    with found.locked():
        if anew:
            rotation.rotate_anew(found, secret, today, key_file=file)
        elif which is Rotated.RELAY:
            rotation.rotate_relay(found, found.keys(secret))
        elif which is Rotated.SIGNING:
            rotation.rotate_signing(found, found.keys(secret), secret, today)
        else:
            (rotation.finish_root if finish else rotation.rotate_root)(found, found.keys(secret), secret)
    found = ConsortiumFolder(folder)
    say(f"the {which.value} key is new; the roster is number {found.roster().sequence}")
    say(f"next: copy {folder / 'relay'} to the relay's machine")
    if which is Rotated.SIGNING:
        fingerprint = key_fingerprint(found.offline_key)
        say(f"the words of the offline key: {fingerprint_words(fingerprint)}")
        say(f"its fingerprint: {fingerprint.hex()}")
        say("tell every hospital these words, by another way than kit and relay")
    elif which is Rotated.ROOT and not finish:
        say(f"once every hospital has it: phenofed consortium rotate {folder} root --finish")
