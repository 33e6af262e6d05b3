"""A silo's workspace: one folder that holds everything the hospital's agent needs, readable by its owner alone.

workspace.json     name, and once joined: consortium, pinned offline key
private.key        sealed: identity, TLS key, wrapping root
request.json       what the operator is sent; request.new.json asks for a new TLS key
certificate.pem  ca.pem  roster.json  registry.json  successions.json      from the kit, or by the relay
policy.yaml        what the hospital allows
labels.yaml        its own labels -> keys of the registry
cohort/            patients and crops (common.cohort.store)
patients.key  consents.json  participation.json  audit/  what stays of patients, by keyed hash
gallery/  ledger.sqlite  agent.sock                      the agent's own
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from client.workspace.key_file import SiloKeys, read_keys, write_keys
from common.config import Settings
from common.consortium import roster as rosters
from common.consortium import syndromes
from common.consortium.console import read_file
from common.consortium.fields import Hash, Name
from common.consortium.identity import Member
from common.consortium.key_file import Secret
from common.consortium.roster import Roster
from common.consortium.signed_file import MAX_BYTES
from common.consortium.succession import OfflineKeys, Succession, keys_after, read_by, read_successions
from common.consortium.syndromes import Registry
from common.consortium.unlocking import find_secret
from common.errors import AgentError, ConfigError
from common.storage import write_text
from common.transport.tls import TlsFiles
from common.versions import refuse_newer

if TYPE_CHECKING:
    from client.workspace.policy import SiloPolicy


class About(Settings):
    """What workspace.json holds. ``key_file``: where the key file was when the keys were sealed with one."""

    version: Literal[1] = 1
    name: Name
    key_file: Path | None = None
    consortium: Name | None = None
    offline_key: Hash | None = None


@dataclass(frozen=True)
class SealedTls(TlsFiles):
    """TLS files whose private key is on disk only in the sealed file; ``opened`` gives the one in use now."""

    opened: Callable[[], bytes] = field(repr=False, default=bytes)

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Certificate, key and authority, PEM."""
        return _kit_file(self.certificate), self.opened(), _kit_file(self.authority)


class Workspace:
    """The workspace in ``folder``.

    Args:
        secret: opens the private keys; by default looked for when they are first needed: the key file that
            was used at first, the environment, or the keyboard.

    Raises:
        AgentError: no workspace lies there, or workspace.json is damaged.
    """

    def __init__(self, folder: Path, secret: Secret | None = None) -> None:
        self.folder, self._secret = folder, secret
        self._opened: tuple[int, SiloKeys] | None = None
        self.about = _read_about(folder)

    @property
    def name(self) -> str:
        """The silo's roster name."""
        return self.about.name

    @property
    def keys(self) -> SiloKeys:
        """The private keys, opened once, and again when another process replaced one.

        Raises:
            AgentError: they are missing, or another silo's.
            EncryptionError: the passphrase or key file does not open them.
        """
        path = self.folder / "private.key"
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        if self._opened is not None and self._opened[0] == stamp:
            return self._opened[1]
        self._secret = self._secret or find_secret(self.about.key_file, whose=f"the keys of {self.name}")
        keys = read_keys(path, self._secret)
        if keys.member.card.name != self.name:
            raise AgentError("private.key belongs to another silo", remedy="restore this silo's own")
        self._opened = (stamp, keys)
        return keys

    def seal(self, keys: SiloKeys) -> None:
        """Write the private keys anew, under the secret that opened them."""
        if self._secret is None:
            raise AgentError("the private keys were not opened", remedy="open them first")
        write_keys(self.folder / "private.key", keys, self._secret)

    def member(self) -> Member:
        """The silo's identity."""
        return self.keys.member

    def wrap_key(self, purpose: str) -> bytes:
        """(32 bytes) the key that encrypts other secrets of the silo at rest."""
        return self.keys.wrap_key(purpose)

    @property
    def tls(self) -> TlsFiles:
        """What a connection to the relay needs."""
        return SealedTls(
            self.folder / "certificate.pem",
            self.folder / "private.key",
            self.folder / "ca.pem",
            lambda: self.keys.tls_key,
        )

    @property
    def offline_key(self) -> bytes:
        """(32 bytes) the consortium's key: the one that was pinned when the silo joined, or its successor.

        Raises:
            AgentError: it has not joined.
        """
        return self.offline_keys.newest

    @property
    def offline_keys(self) -> OfflineKeys:
        """The consortium's key, and those that handed over to it: what was taken in under them stays readable.

        Raises:
            AgentError: it has not joined.
            ConfigError: successions.json was altered.
        """
        about = _read_about(self.folder)  # another process may have joined anew
        if about.offline_key is None or about.consortium is None:
            raise AgentError(f"{self.name} has joined no consortium yet", remedy="run phenofed silo join")
        return keys_after(bytes.fromhex(about.offline_key), self.successions(), about.consortium)

    def successions(self) -> tuple[Succession, ...]:
        """How the consortium's offline key was handed over, oldest first.

        Raises:
            ConfigError: successions.json was altered.
        """
        path = self.folder / "successions.json"
        return read_successions(_kit_file(path)) if path.exists() else ()

    def roster(self) -> Roster:
        """The newest roster that was installed.

        Raises:
            AgentError: the silo has not joined, or is not listed any more.
            ConfigError: the file was altered.
        """
        keys = self.offline_keys
        roster = read_by(keys.all, rosters.read_roster, _kit_file(self.folder / "roster.json"))
        if not roster.holds(self.name):
            raise AgentError(
                f"{self.name} is no member of {roster.consortium} any more", remedy="talk to the operator"
            )
        return roster

    def registry(self) -> Registry:
        """The newest syndrome registry that was installed.

        Raises:
            AgentError: the silo has not joined, or the consortium has no registry yet.
            ConfigError: the file was altered.
        """
        keys, path = self.offline_keys, self.folder / "registry.json"
        if not path.exists():
            raise AgentError(
                "there is no syndrome registry yet", remedy="ask the operator for a newer kit and join with it"
            )
        return read_by(keys.all, syndromes.read_registry, _kit_file(path))

    def policy(self) -> SiloPolicy:
        """What the hospital allows, with its paths made absolute.

        Raises:
            AgentError: there is none yet.
            ConfigError: it does not fit; every problem in one message.
        """
        from client.workspace.policy import load_policy

        path = self.folder / "policy.yaml"
        if not path.exists():
            raise AgentError(f"{path} is missing", remedy="run phenofed silo join, or write it")
        return load_policy(path.resolve())

    @property
    def cohort_folder(self) -> Path:
        """The folder of the stored cohort."""
        return self.folder / "cohort"

    @property
    def gallery_folder(self) -> Path:
        """The folder of served prototypes."""
        return self.folder / "gallery"

    @property
    def ledger_path(self) -> Path:
        """The file of the budgets."""
        return self.folder / "ledger.sqlite"

    @property
    def socket_path(self) -> Path:
        """The agent's local socket."""
        return self.folder / "agent.sock"

    @property
    def labels_path(self) -> Path:
        """The file that maps own labels to keys of the registry."""
        return self.folder / "labels.yaml"

    def remember(self, about: About) -> None:
        """Write workspace.json anew."""
        write_text(self.folder / "workspace.json", about.model_dump_json(indent=1) + "\n", private=True)
        self.about = about


def check_new(folder: Path) -> None:
    """Check that a workspace can be made in ``folder``.

    Raises:
        AgentError: something lies there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AgentError(f"{folder} is not empty", remedy="name a new folder for the workspace")


def create_workspace(folder: Path, about: About, secret: Secret) -> Workspace:
    """A new workspace with nothing but its description; private to the owner.

    Raises:
        AgentError: something lies there already, or the folder cannot be made.
    """
    check_new(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(folder, 0o700)
    except OSError as error:
        raise AgentError(f"cannot make {folder} ({error.strerror})", remedy="choose another folder") from error
    write_text(folder / "workspace.json", about.model_dump_json(indent=1) + "\n", private=True)
    return Workspace(folder, secret)


def _read_about(folder: Path) -> About:
    try:
        content = (folder / "workspace.json").read_bytes()
        refuse_newer(str(folder / "workspace.json"), content, kind=AgentError)
        return About.model_validate_json(content)
    except OSError as error:
        raise AgentError(f"{folder} holds no workspace", remedy="run phenofed silo init") from error
    except ValidationError as error:
        raise AgentError(f"{folder / 'workspace.json'} is damaged", remedy="restore it") from error


def _kit_file(path: Path) -> bytes:
    try:
        return read_file(path, limit=MAX_BYTES)
    except ConfigError as error:
        raise AgentError(error.what, remedy="run phenofed silo join with the newest kit") from error
