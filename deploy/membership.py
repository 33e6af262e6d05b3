"""Founding a consortium, adding a hospital, revoking one: certificates, rosters and kits."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import replace
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.consortium import certificates
from common.consortium.fields import split_address
from common.consortium.key_file import Secret
from common.consortium.kit import write_kit
from common.consortium.request import JoinRequest
from common.consortium.roster import Roster, RosterMember
from common.errors import ConfigError
from common.storage import write_bytes, write_text
from deploy.folder import About, ConsortiumFolder, OfflineKeys, create_folder

RELAY_SETTINGS = "relay.yaml"


def found(
    path: Path, *, name: str, relay: str, secret: Secret, key_file: Path | None, policy: str
) -> ConsortiumFolder:
    """A new consortium without members, with keys, root certificate and the relay's files.

    Raises:
        ConfigError: something lies at ``path`` already.
    """
    keys = OfflineKeys(Ed25519PrivateKey.generate(), certificates.new_key())
    root = certificates.root_certificate(keys.root, name)
    public = keys.signing.public_key().public_bytes_raw()
    about = About(
        name=name,
        relay=relay,
        offline_key=public.hex(),
        key_file=key_file and key_file.resolve(),
        key_since=_today(),
    )
    create_folder(path, about, keys, secret, root, policy)
    folder = ConsortiumFolder(path)
    relay_tls = _equip_relay(folder, keys)
    root_hash = certificates.certificate_hash(certificates.read_certificate(root))
    folder.publish_roster(Roster(name, relay, relay_tls, root_hash), keys)
    return folder


def add(folder: ConsortiumFolder, request: JoinRequest, original: bytes, keys: OfflineKeys) -> Path:
    """Issue a certificate for a request and list its member; gives the kit's path.

    Asking again with the same keys gives the kit and a certificate anew, without a new roster. A member may bring
    a new TLS key, since its card signed the request; a new card asks for a revocation first.

    Raises:
        ConfigError: a member of that name has another card.
    """
    name, roster = request.card.name, folder.roster()
    member = RosterMember(request.card, request.tls, request.title, request.contact, _today())
    if roster.holds(name):
        known = roster.member(name)
        if known.card != request.card:
            raise ConfigError(
                f"{name} is a member with another card",
                remedy=f"if the hospital lost its keys, run phenofed consortium revoke {folder.path} {name} first",
            )
        member = replace(member, joined=known.joined)
    others = [other for other in roster.members if other.name != name]
    taken = {key for other in others for key in (other.tls, other.card.verify_key, other.card.exchange_key)}
    if taken & {request.tls, request.card.verify_key, request.card.exchange_key}:
        raise ConfigError(
            "another member has one of these keys", remedy="the hospital must run phenofed silo init"
        )
    certificate = certificates.silo_certificate(request.tls_key, name, folder.root, keys.root)
    write_bytes(folder.path / "members" / name / "request.json", original)
    write_bytes(folder.path / "members" / name / "certificate.pem", certificate)
    write_bytes(folder.path / "relay" / "certificates" / f"{name}.pem", certificate)
    if member not in roster.members:
        folder.publish_roster(roster.succeeded_by([*others, member]), keys)
    path = folder.path / "kits" / f"{name}.zip"
    write_bytes(path, write_kit(folder.kit(name, certificate)))
    return path


def revoke(folder: ConsortiumFolder, name: str, keys: OfflineKeys) -> None:
    """Sign a roster without ``name``; nobody else's certificate changes.

    Raises:
        ConfigError: there is no such member.
    """
    roster = folder.roster()
    gone = roster.member(name)
    folder.publish_roster(roster.succeeded_by(member for member in roster.members if member != gone), keys)
    (folder.path / "kits" / f"{name}.zip").unlink(missing_ok=True)
    (folder.path / "relay" / "certificates" / f"{name}.pem").unlink(missing_ok=True)


def name_release_key(folder: ConsortiumFolder, key: bytes, keys: OfflineKeys) -> None:
    """Sign a roster that names the key (32 bytes) whose releases members trust; the same key changes nothing."""
    roster = folder.roster()
    if roster.release_key != key.hex():
        folder.publish_roster(roster.with_release_key(key.hex()), keys)


def _equip_relay(folder: ConsortiumFolder, keys: OfflineKeys) -> str:
    """Write what the relay needs to ``relay/``; gives the SPKI hash of its key."""
    host, port = split_address(folder.about.relay)
    key = certificates.new_key()
    place = folder.path / "relay"
    write_bytes(place / "key.pem", certificates.key_to_pem(key), private=True)
    write_bytes(
        place / "certificate.pem",
        certificates.relay_certificate(key.public_key(), host, folder.root, keys.root),
    )
    write_bytes(place / "ca.pem", folder.root)
    settings = {
        "address": _listening(host),
        "port": port,
        "certificate": "certificate.pem",
        "key": "key.pem",
        "ca": "ca.pem",
        "roster": "roster.json",
        "roster_key": folder.about.offline_key,
    }
    comment = (
        "# For phenofed coordinator up. Paths are relative to this file. roster_key: who may sign the roster.\n"
    )
    write_text(place / RELAY_SETTINGS, comment + yaml.safe_dump(settings, sort_keys=False))
    return certificates.spki_hash(key.public_key())


def _today() -> datetime.date:
    return datetime.datetime.now(tz=datetime.UTC).date()


def _listening(host: str) -> str:
    """Every interface, save for a relay on loopback."""
    try:
        return host if ipaddress.ip_address(host).is_loopback else "0.0.0.0"  # noqa: S104
    except ValueError:
        return "127.0.0.1" if host == "localhost" else "0.0.0.0"  # noqa: S104
