"""New keys for a consortium that runs: of the relay, of the root, of the offline key. Each at once or not at all.

relay      a new TLS key and certificate, named in a new roster. No silo's certificate changes.
root       a new root beside the one before. Everybody gets a new certificate for the key that they have, out of
           the requests that lie here; the relay keeps its own until ``finish_root``, which ends the old root.
signing    a new offline key, named by the one before. Roster and registry are signed anew, word for word.
anew       a new offline key and root that nobody vouches for, where the old ones were lost or stolen.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.consortium import certificates, syndromes
from common.consortium import roster as rosters
from common.consortium.certificates import certificate_hash, read_certificate
from common.consortium.fields import split_address
from common.consortium.key_file import Secret
from common.consortium.kit import write_kit
from common.consortium.request import read_request
from common.consortium.roster import Roster
from common.consortium.succession import succeed, write_successions
from common.errors import ConfigError
from deploy.folder import About, ConsortiumFolder, OfflineKeys, sealed_keys
from deploy.journal import Changes, commit

_ROSTER_KEY = re.compile(r"^roster_key:.*$", re.MULTILINE)


def rotate_relay(folder: ConsortiumFolder, keys: OfflineKeys) -> None:
    """A new TLS key and certificate for the relay, by the root that every silo trusts by now."""
    relay, relay_tls = _relay_files(folder, keys.former_root or keys.root, folder.roots[-1])
    _commit(folder, keys, folder.roster().with_relay(relay_tls), changes=relay)


def rotate_root(folder: ConsortiumFolder, keys: OfflineKeys, secret: Secret) -> None:
    """A new root, trusted beside the one before; new certificates for all members.

    Raises:
        ConfigError: a change of the root is under way, or a member's request is missing.
    """
    if keys.former_root is not None:
        raise ConfigError("the root is being changed already", remedy="end it first, with rotate root --finish")
    fresh = OfflineKeys(keys.signing, certificates.new_key(), former_root=keys.root)
    new = certificates.root_certificate(fresh.root, folder.about.name)
    roster = folder.roster()
    roster = roster.with_roots(certificate_hash(read_certificate(new)), roster.ca)
    changes = {"offline.keys": sealed_keys(fresh, secret)} | _certificates(folder, fresh, new)
    _commit(folder, fresh, roster, roots=new + folder.roots[0], changes=changes)


def finish_root(folder: ConsortiumFolder, keys: OfflineKeys, secret: Secret) -> None:
    """End the former root: the relay's certificate comes from the new one, and the old one is trusted no more.

    Raises:
        ConfigError: no change of the root is under way.
    """
    if keys.former_root is None:
        raise ConfigError("the root is not being changed", remedy="begin with rotate root")
    fresh, root = OfflineKeys(keys.signing, keys.root), folder.roots[0]
    relay, relay_tls = _relay_files(folder, keys.root, root)
    roster = folder.roster().with_relay(relay_tls)
    roster = replace(roster, former_ca=None)
    changes = {"offline.keys": sealed_keys(fresh, secret)} | relay
    _commit(folder, fresh, roster, roots=root, changes=changes)


def rotate_signing(folder: ConsortiumFolder, keys: OfflineKeys, secret: Secret, today: datetime.date) -> None:
    """A new offline key; the one before says so in a succession, and signs nothing any more.

    Raises:
        ConfigError: the key was replaced as often as it may be.
    """
    new = Ed25519PrivateKey.generate()
    chain = succeed(folder.successions(), folder.about.name, keys.signing, new, today)
    fresh = OfflineKeys(new, keys.root, former_root=keys.former_root)
    changes = {"offline.keys": sealed_keys(fresh, secret)}
    _commit(folder, fresh, folder.roster(), successions=write_successions(chain), changes=changes, since=today)


def rotate_anew(folder: ConsortiumFolder, secret: Secret, today: datetime.date, *, key_file: Path | None) -> None:
    """A new offline key and a new root without a word of the old ones, which are not needed for it.

    Members, roster numbers and rows stay. Every hospital joins by hand, with its own kit and the new key's words.
    """
    fresh = OfflineKeys(Ed25519PrivateKey.generate(), certificates.new_key())
    root = certificates.root_certificate(fresh.root, folder.about.name)
    relay, relay_tls = _relay_files(folder, fresh.root, root)
    roster = folder.roster().with_relay(relay_tls)
    roster = replace(roster, ca=certificate_hash(read_certificate(root)), former_ca=None)
    changes: Changes = {
        "offline.keys": sealed_keys(fresh, secret),
        "successions.json": None,
        "relay/successions.json": None,
        **relay,
        **_certificates(folder, fresh, root),
    }
    folder.about = folder.about.model_copy(update={"key_file": key_file and key_file.resolve()})
    _commit(folder, fresh, roster, roots=root, successions=b"", changes=changes, since=today)


def _commit(
    folder: ConsortiumFolder,
    keys: OfflineKeys,
    roster: Roster,
    *,
    changes: Changes,
    roots: bytes | None = None,
    successions: bytes | None = None,
    since: datetime.date | None = None,
) -> None:
    """Sign roster and registry by ``keys``, renew all kits and the relay's folder, and write it at once."""
    about, registry = _about(folder, keys, since), folder.registry()
    roots = b"".join(folder.roots) if roots is None else roots
    successions = folder.successions_file() if successions is None else successions
    signed = rosters.write_roster(roster, keys.signing)
    whole: dict[str, bytes | None] = {
        "ca.pem": roots,
        "relay/ca.pem": roots,
        f"rosters/{roster.sequence:05d}.json": signed,
        "relay/relay.yaml": _relay_settings(folder, about),
        "consortium.json": (about.model_dump_json(indent=1) + "\n").encode(),
    }
    listed = b""
    if registry is not None:
        listed = syndromes.write_registry(registry, keys.signing)
        whole |= {f"registries/{registry.version:05d}.json": listed, "relay/registry.json": listed}
    if successions:
        whole |= {"successions.json": successions, "relay/successions.json": successions}
    whole |= changes
    kit = replace(
        folder.kit(),
        offline_key=keys.signing.public_key().public_bytes_raw(),
        roster=signed,
        registry=listed,
        root=roots,
        successions=successions,
    )
    whole["kits/everybody.zip"] = write_kit(kit)
    for member in roster.members:
        path = f"members/{member.name}/certificate.pem"
        certificate = whole.get(path) or folder.certificate(member.name)
        whole[f"relay/certificates/{member.name}.pem"] = certificate
        whole[f"kits/{member.name}.zip"] = write_kit(replace(kit, member=member.name, certificate=certificate))
    # A relay that reads it takes the rest for complete.
    whole["relay/roster.json"] = signed
    commit(folder.path, whole)


def _about(folder: ConsortiumFolder, keys: OfflineKeys, since: datetime.date | None) -> About:
    key = keys.signing.public_key().public_bytes_raw().hex()
    changes = {"offline_key": key} | ({"key_since": since} if since else {})
    return folder.about.model_copy(update=changes)


def _relay_files(
    folder: ConsortiumFolder, issuer: EllipticCurvePrivateKey, root: bytes
) -> tuple[dict[str, bytes], str]:
    """The relay's new key and certificate, and the SPKI hash of the key."""
    key = certificates.new_key()
    host, _ = split_address(folder.about.relay)
    issued = certificates.relay_certificate(key.public_key(), host, root, issuer)
    files = {"relay/key.pem": certificates.key_to_pem(key), "relay/certificate.pem": issued}
    return files, certificates.spki_hash(key.public_key())


def _certificates(folder: ConsortiumFolder, keys: OfflineKeys, root: bytes) -> dict[str, bytes]:
    """A new certificate for every member, for the TLS key of its newest request."""
    issued = {}
    for member in folder.roster().members:
        request = read_request(folder.request(member.name))
        if request.card != member.card or request.tls != member.tls:
            raise ConfigError(
                f"members/{member.name}/request.json is not the one that the roster was made of",
                remedy="restore it, or ask the hospital for its request and add it again",
            )
        issued[f"members/{member.name}/certificate.pem"] = certificates.silo_certificate(
            request.tls_key, member.name, root, keys.root
        )
    return issued


def _relay_settings(folder: ConsortiumFolder, about: About) -> bytes:
    """relay.yaml with the newest offline key; what the operator changed in it stays."""
    text = (folder.path / "relay" / "relay.yaml").read_text()
    return _ROSTER_KEY.sub(f"roster_key: {about.offline_key}", text).encode()
