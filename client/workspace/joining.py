"""Installing a kit: everything in it is checked against the consortium's offline key and the silo's own keys.

The offline key is pinned once. From then on a kit can only bring rosters and registries that continue those held
here, and another offline key only where the pinned one handed over to it; the roster in turn names the root
certificate and this silo's TLS key. What comes by the relay (client.workspace.following) passes the same checks.
"""

from __future__ import annotations

import datetime
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from client.workspace.members import Accepted
from client.workspace.workspace import Workspace
from common.consortium import roster as rosters
from common.consortium import syndromes
from common.consortium.certificates import certificate_hash, issued_by, read_certificate, read_certificates
from common.consortium.kit import Kit
from common.consortium.request import JoinRequest
from common.consortium.roster import Roster
from common.consortium.signed_file import RefusedFile
from common.consortium.succession import OfflineKeys, check_continues, keys_after, read_by, read_successions
from common.consortium.syndromes import Registry
from common.errors import AgentError, ConfigError
from common.storage import write_bytes
from common.transport.tls import spki_of

Read = TypeVar("Read")


@dataclass(frozen=True)
class Admission:
    """What a kit brings, after every check. ``registry`` is None while the consortium has none.

    ``anew``: the kit's offline key was taken by its words, in place of the one that was pinned.
    """

    kit: Kit
    roster: Roster
    registry: Registry | None
    anew: bool = False


def examine(kit: Kit, workspace: Workspace, request: JoinRequest, *, anew: bool = False) -> Admission:
    """Check a kit for this workspace; nothing is written.

    Whether the kit's offline key is the consortium's is the caller's to settle at the first join; later it must
    be the pinned one, or one that the pinned one handed over to.

    Args:
        anew: the hospital's people compared the words of the kit's offline key by telephone, since the one that
            is pinned was lost or stolen. What it signed counts for nothing then; only rows may not move.

    Raises:
        AgentError: the kit is for another silo, or this silo is not listed with these keys.
        ConfigError: a signed file is altered, older than the one held here, or a fork.
    """
    if kit.member not in (None, workspace.name):
        raise AgentError(f"the kit is for {kit.member}, this is {workspace.name}", remedy="ask for your own kit")
    keys = _keys(kit, workspace, anew=anew)
    roster = _read(rosters.read_roster, kit.roster, keys, workspace.folder / "roster.json")
    registry = None
    if kit.registry:
        registry = _read(syndromes.read_registry, kit.registry, keys, workspace.folder / "registry.json")
    known = workspace.about.consortium or kit.consortium
    if {roster.consortium, registry.consortium if registry else kit.consortium, known} != {kit.consortium}:
        raise ConfigError("the parts of the kit belong to different consortia", remedy="ask for another kit")
    _check_continues(workspace, roster, registry, anew=anew)
    _check_listed(workspace, roster, request)
    _check_certificates(kit, workspace, roster, request)
    return Admission(kit, roster, registry, anew)


def install(admission: Admission, workspace: Workspace) -> None:
    """Write what was examined. The roster comes last, since it says that the rest is complete.

    The policy that the kit proposes is installed only where the workspace has none. The ledger and the record of
    galleries begin here, once: the agent never makes them, since new ones would forget what was answered. The
    other members of the first roster are accepted with it.

    Raises:
        ConfigError: the proposed policy does not fit; nothing else was written then.
    """
    kit, folder = admission.kit, workspace.folder
    if kit.policy and not (folder / "policy.yaml").exists():
        _install_policy(kit.policy, folder)
    if workspace.about.offline_key is None:
        _begin_records(workspace)
        Accepted(folder).accept(m.card for m in admission.roster.members if m.name != workspace.name)
    # Before the key that they lead to is pinned: until it is, the pinned one leads there.
    if kit.successions:
        _put(folder / "successions.json", kit.successions)
    elif admission.anew:
        (folder / "successions.json").unlink(missing_ok=True)
    changes = {"consortium": kit.consortium, "offline_key": kit.offline_key.hex()}
    if (about := workspace.about.model_copy(update=changes)) != workspace.about:
        workspace.remember(about)
    _put(folder / "ca.pem", kit.root)
    if (folder / "node").is_dir():
        _put(folder / "node" / "ca.pem", kit.root)
    if kit.certificate:
        _put(folder / "certificate.pem", kit.certificate)
    if admission.registry is not None:
        _put(folder / "registry.json", kit.registry)
    _put(folder / "roster.json", kit.roster)


@contextmanager
def alone_in(workspace: Workspace) -> Iterator[None]:
    """Let one process at a time judge and write what a kit or the relay brings."""
    folder = os.open(workspace.folder, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _put(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content)


def _begin_records(workspace: Workspace) -> None:
    from client.gallery.keeper import GalleryKeeper
    from client.ledger.ledger import Ledger

    # What is there already stays: a join that was interrupted goes on.
    if not workspace.ledger_path.exists() or workspace.ledger_path.stat().st_size == 0:
        Ledger(workspace.ledger_path, new=True).close()
    if not any(workspace.gallery_folder.glob("gallery*")):
        GalleryKeeper(workspace.gallery_folder, new=True)


def _install_policy(content: bytes, folder: Path) -> None:
    from client.workspace.policy import load_policy

    proposed = folder / "policy.proposed.yaml"
    try:
        write_bytes(proposed, content, private=True)
        load_policy(proposed)
        os.replace(proposed, folder / "policy.yaml")
    finally:
        proposed.unlink(missing_ok=True)


def _keys(kit: Kit, workspace: Workspace, *, anew: bool) -> OfflineKeys:
    """The keys by which a kit is read: its own, which must be the pinned one or its successor."""
    chain = read_successions(kit.successions)
    if chain and chain[-1].key != kit.offline_key:
        raise ConfigError("the kit's successions do not lead to its offline key", remedy="ask for another kit")
    if workspace.about.offline_key is None or anew:
        return keys_after(kit.offline_key, chain, kit.consortium)
    # A kit may be older than the newest succession: it is read by the keys that it knows, and then judged.
    held = workspace.successions()
    if len(chain) >= len(held):
        check_continues(held, chain)
    else:
        check_continues(chain, held)
    longer = max(chain, held, key=len)
    keys = keys_after(workspace.offline_key, longer, workspace.about.consortium or kit.consortium)
    if kit.offline_key not in keys.all:
        raise AgentError(
            f"the kit comes from another consortium than {workspace.about.consortium}, or by a new offline key",
            remedy="do not install it; ask the operator by telephone, and see phenofed silo join --help",
        )
    if kit.offline_key != keys.newest:
        raise AgentError(
            "the kit is older than the consortium's newest offline key", remedy="ask the operator for a newer one"
        )
    return keys


def _read(read: Callable[[bytes, bytes], Read], content: bytes, keys: OfflineKeys, held: Path) -> Read:
    """A signed file: what is new by the newest key alone, what lies here already by those before as well."""
    known = held.exists() and held.read_bytes() == content
    return read_by(keys.all if known else (keys.newest,), read, content)


def _check_continues(workspace: Workspace, roster: Roster, registry: Registry | None, *, anew: bool) -> None:
    """Nothing older than what is held here, and no fork of it."""
    held = workspace.folder / "roster.json"
    try:
        if held.exists() and not anew:
            rosters.follows(read_by(workspace.offline_keys.all, rosters.read_roster, held.read_bytes()), roster)
        held = workspace.folder / "registry.json"
        if held.exists() and registry is not None:
            before = read_by(workspace.offline_keys.all, syndromes.read_registry, held.read_bytes())
            if anew:
                syndromes.check_rows(before, registry)
            else:
                syndromes.follows(before, registry)
    except RefusedFile as error:
        raise AgentError(
            f"{held} was altered", remedy="move it away and join with the newest kit; find out how it changed"
        ) from error


def _check_listed(workspace: Workspace, roster: Roster, request: JoinRequest) -> None:
    if not roster.holds(workspace.name):
        raise AgentError(
            f"{workspace.name} is no member of {roster.consortium}", remedy="send the operator request.json"
        )
    listed = roster.member(workspace.name)
    if listed.card != request.card or listed.tls != request.tls:
        raise AgentError(
            f"the roster lists {workspace.name} with other keys than this workspace has",
            remedy="send the operator the request.json of this workspace",
        )


def _check_certificates(kit: Kit, workspace: Workspace, roster: Roster, request: JoinRequest) -> None:
    roots = read_certificates(kit.root)
    if sorted(map(certificate_hash, roots)) != sorted(roster.roots):
        raise ConfigError("the kit's root certificate is not the roster's", remedy="ask for another kit")
    held = workspace.folder / "certificate.pem"
    content = kit.certificate or (held.read_bytes() if held.exists() else b"")
    if not content:
        raise AgentError("this kit brings no certificate", remedy=f"ask for the kit of {workspace.name} first")
    certificate = read_certificate(content)
    if not issued_by(certificate, *roots) or spki_of(content) != request.tls:
        raise AgentError("the certificate is not for this silo's key", remedy="ask for your own kit")
    if certificate.not_valid_after_utc <= datetime.datetime.now(tz=datetime.UTC):
        raise AgentError(
            f"the certificate ended on {certificate.not_valid_after_utc.date()}",
            remedy="ask the operator to renew it: phenofed consortium add with the same request",
        )
