"""Installing a kit: everything in it is checked against the consortium's offline key and the silo's own keys.

The offline key is pinned once. From then on a kit can only bring rosters and registries that continue those held
here; the roster in turn names the root certificate and this silo's TLS key.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from client.workspace.members import Accepted
from client.workspace.workspace import Workspace
from common.consortium import roster as rosters
from common.consortium import syndromes
from common.consortium.certificates import certificate_hash, issued_by, read_certificate
from common.consortium.kit import Kit
from common.consortium.request import JoinRequest
from common.consortium.roster import Roster
from common.consortium.signed_file import RefusedFile
from common.consortium.syndromes import Registry
from common.errors import AgentError, ConfigError
from common.storage import write_bytes
from common.transport.tls import spki_of


@dataclass(frozen=True)
class Admission:
    """What a kit brings, after every check. ``registry`` is None while the consortium has none."""

    kit: Kit
    roster: Roster
    registry: Registry | None


def examine(kit: Kit, workspace: Workspace, request: JoinRequest) -> Admission:
    """Check a kit for this workspace; nothing is written.

    Whether the kit's offline key is the consortium's is the caller's to settle at the first join; later it must
    be the pinned one.

    Raises:
        AgentError: the kit is for another silo, or this silo is not listed with these keys.
        ConfigError: a signed file is altered, older than the one held here, or a fork.
    """
    if kit.member not in (None, workspace.name):
        raise AgentError(f"the kit is for {kit.member}, this is {workspace.name}", remedy="ask for your own kit")
    pinned = workspace.about.offline_key
    if pinned is not None and pinned != kit.offline_key.hex():
        raise AgentError(
            f"the kit comes from another consortium than {workspace.about.consortium}",
            remedy="do not install it; compare the words of the offline key with the operator",
        )
    roster = rosters.read_roster(kit.roster, kit.offline_key)
    registry = syndromes.read_registry(kit.registry, kit.offline_key) if kit.registry else None
    if {roster.consortium, registry.consortium if registry else kit.consortium} != {kit.consortium}:
        raise ConfigError("the parts of the kit belong to different consortia", remedy="ask for another kit")
    _check_continues(workspace, roster, registry)
    _check_listed(workspace, roster, request)
    _check_certificates(kit, workspace, roster, request)
    return Admission(kit, roster, registry)


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
    changes = {"consortium": kit.consortium, "offline_key": kit.offline_key.hex()}
    workspace.remember(workspace.about.model_copy(update=changes))
    write_bytes(folder / "ca.pem", kit.root)
    if kit.certificate:
        write_bytes(folder / "certificate.pem", kit.certificate)
    if admission.registry is not None:
        write_bytes(folder / "registry.json", kit.registry)
    write_bytes(folder / "roster.json", kit.roster)


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


def _check_continues(workspace: Workspace, roster: Roster, registry: Registry | None) -> None:
    """Nothing older than what is held here, and no fork of it."""
    held = workspace.folder / "roster.json"
    try:
        if held.exists():
            rosters.follows(rosters.read_roster(held.read_bytes(), workspace.offline_key), roster)
        held = workspace.folder / "registry.json"
        if held.exists() and registry is not None:
            syndromes.follows(syndromes.read_registry(held.read_bytes(), workspace.offline_key), registry)
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
    root = read_certificate(kit.root)
    if certificate_hash(root) != roster.ca:
        raise ConfigError("the kit's root certificate is not the roster's", remedy="ask for another kit")
    held = workspace.folder / "certificate.pem"
    content = kit.certificate or (held.read_bytes() if held.exists() else b"")
    if not content:
        raise AgentError("this kit brings no certificate", remedy=f"ask for the kit of {workspace.name} first")
    certificate = read_certificate(content)
    if not issued_by(certificate, root) or spki_of(content) != request.tls:
        raise AgentError("the certificate is not for this silo's key", remedy="ask for your own kit")
    if certificate.not_valid_after_utc <= datetime.datetime.now(tz=datetime.UTC):
        raise AgentError(
            f"the certificate ended on {certificate.not_valid_after_utc.date()}",
            remedy="ask the operator to renew it: phenofed consortium add with the same request",
        )
