"""The operator's folder: everything that defines a consortium, kept offline.

consortium.json          name, relay address, offline key (public)
offline.keys             sealed: the offline key and the root's key
ca.pem                   the root certificate
rosters/  registries/    every signed version; the newest counts
members/NAME/            request and certificate of each hospital
kits/                    what goes to the hospitals
relay/                   what goes to the relay's machine
successions.json         how earlier offline keys handed over to this one
policy.yaml              the policy that kits propose
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError

from common.config import Settings
from common.consortium import roster as rosters
from common.consortium import syndromes
from common.consortium.certificates import key_from_pem, key_to_pem, read_certificates
from common.consortium.console import read_file
from common.consortium.fields import Address, Hash, Name
from common.consortium.key_file import Secret, open_private, seal_private
from common.consortium.kit import Kit, write_kit
from common.consortium.roster import Roster
from common.consortium.signed_file import MAX_BYTES
from common.consortium.succession import MAX_BYTES as MAX_SUCCESSIONS
from common.consortium.succession import Succession, read_successions
from common.consortium.syndromes import Registry
from common.errors import ConfigError
from common.storage import write_bytes, write_text
from deploy.journal import is_pending, recover

_PURPOSE = "offline keys"


@dataclass(frozen=True)
class OfflineKeys:
    """``signing``: signs rosters and registries; ``root``: issues certificates.

    ``former_root``: the one before, while the root is being changed; the relay's certificate still comes from it.
    """

    signing: Ed25519PrivateKey = field(repr=False)
    root: EllipticCurvePrivateKey = field(repr=False)
    former_root: EllipticCurvePrivateKey | None = field(default=None, repr=False)


class About(Settings):
    """What consortium.json holds. ``key_file``: where the key file was when the keys were sealed with one.

    ``key_since``: when the offline key was made; None in folders of before it was written down.
    """

    version: Literal[1] = 1
    name: Name
    relay: Address
    offline_key: Hash
    key_file: Path | None = None
    key_since: datetime.date | None = None


class ConsortiumFolder:
    """The consortium that lies at ``path``.

    Raises:
        ConfigError: none lies there, or consortium.json is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if is_pending(path):
            with self._alone():
                recover(path)
        try:
            self.about = About.model_validate_json((path / "consortium.json").read_bytes())
        except OSError as error:
            raise ConfigError(f"{path} holds no consortium", remedy="run phenofed consortium init") from error
        except ValidationError as error:
            raise ConfigError(f"{path / 'consortium.json'} is damaged", remedy="restore it") from error

    @property
    def offline_key(self) -> bytes:
        """(32 bytes) the public key that signs rosters and registries."""
        return bytes.fromhex(self.about.offline_key)

    @cached_property
    def roots(self) -> tuple[bytes, ...]:
        """The root certificates, PEM, newest first; one, save while the root is being changed."""
        content = read_file(self.path / "ca.pem", limit=1 << 16)
        return tuple(root.public_bytes(Encoding.PEM) for root in read_certificates(content))

    @property
    def root(self) -> bytes:
        """The root that issues certificates, PEM."""
        return self.roots[0]

    def keys(self, secret: Secret) -> OfflineKeys:
        """The private keys.

        Raises:
            EncryptionError: another secret, or a damaged file.
        """
        sealed = read_file(self.path / "offline.keys", limit=1 << 20)
        content = json.loads(open_private(sealed, secret, purpose=_PURPOSE))
        signing = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content["signing"]))
        former = content.get("former_root")
        return OfflineKeys(
            signing, key_from_pem(content["root"].encode()), key_from_pem(former.encode()) if former else None
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time change the folder: two would sign two rosters of one number."""
        with self._alone():
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError("another command changes this consortium", remedy="wait for it") from error
            yield

    def roster_file(self) -> bytes:
        """The newest roster as signed."""
        return read_file(self._versions("rosters")[-1], limit=MAX_BYTES)

    def roster(self) -> Roster:
        """The newest roster."""
        return rosters.read_roster(self.roster_file(), self.offline_key)

    def successions(self) -> tuple[Succession, ...]:
        """How earlier offline keys handed over to this one, oldest first."""
        return read_successions(self.successions_file())

    def successions_file(self) -> bytes:
        """The same as signed; empty where the key is the first."""
        path = self.path / "successions.json"
        return read_file(path, limit=MAX_SUCCESSIONS) if path.exists() else b""

    def certificate(self, member: str) -> bytes:
        """A member's newest certificate, PEM."""
        return read_file(self.path / "members" / member / "certificate.pem", limit=1 << 16)

    def request(self, member: str) -> bytes:
        """A member's newest request, as it came."""
        return read_file(self.path / "members" / member / "request.json", limit=1 << 16)

    def registry_file(self) -> bytes:
        """The newest registry as signed; empty where there is none yet."""
        versions = self._versions("registries")
        return read_file(versions[-1], limit=MAX_BYTES) if versions else b""

    def registry(self) -> Registry | None:
        """The newest registry; None where there is none yet."""
        content = self.registry_file()
        return syndromes.read_registry(content, self.offline_key) if content else None

    def publish_roster(self, roster: Roster, keys: OfflineKeys) -> None:
        """Sign a new roster; the relay's copy and the kit for everybody follow."""
        content = rosters.write_roster(roster, keys.signing)
        write_bytes(self.path / "rosters" / f"{roster.sequence:05d}.json", content)
        self._hand_to_relay()
        self._renew_kit_for_everybody()

    def publish_registry(self, registry: Registry, keys: OfflineKeys) -> None:
        """Sign a new registry; the relay's copy and the kit for everybody follow."""
        content = syndromes.write_registry(registry, keys.signing)
        write_bytes(self.path / "registries" / f"{registry.version:05d}.json", content)
        self._hand_to_relay()
        self._renew_kit_for_everybody()

    def kit(self, member: str | None = None, certificate: bytes = b"") -> Kit:
        """The kit for a member, or for everybody."""
        return Kit(
            consortium=self.about.name,
            member=member,
            offline_key=self.offline_key,
            roster=self.roster_file(),
            root=b"".join(self.roots),
            successions=self.successions_file(),
            registry=self.registry_file(),
            certificate=certificate,
            policy=read_file(self.path / "policy.yaml", limit=1 << 20),
        )

    def _hand_to_relay(self) -> None:
        """What the relay hands out to members that look for newer documents; the roster last."""
        for name, content in (("registry.json", self.registry_file()), ("roster.json", self.roster_file())):
            if content:
                write_bytes(self.path / "relay" / name, content)

    def _renew_kit_for_everybody(self) -> None:
        write_bytes(self.path / "kits" / "everybody.zip", write_kit(self.kit()))

    def _versions(self, kind: str) -> list[Path]:
        return sorted((self.path / kind).glob("[0-9]*.json"))


def sealed_keys(keys: OfflineKeys, secret: Secret) -> bytes:
    """What offline.keys holds."""
    content = {"signing": keys.signing.private_bytes_raw().hex(), "root": key_to_pem(keys.root).decode()}
    if keys.former_root is not None:
        content["former_root"] = key_to_pem(keys.former_root).decode()
    return seal_private(json.dumps(content).encode(), secret, purpose=_PURPOSE)


def create_folder(path: Path, about: About, keys: OfflineKeys, secret: Secret, root: bytes, policy: str) -> None:
    """A new folder without rosters yet.

    Raises:
        ConfigError: something lies at ``path`` already.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} is not empty", remedy="name a new folder")
    path.mkdir(parents=True, exist_ok=True)
    os.chmod(path, 0o700)
    write_bytes(path / "offline.keys", sealed_keys(keys, secret), private=True)
    write_bytes(path / "ca.pem", root)
    write_text(path / "policy.yaml", policy)
    write_text(path / "consortium.json", about.model_dump_json(indent=1) + "\n")
