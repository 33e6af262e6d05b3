"""Taking in what the relay hands out: newer rosters, registries, roots, certificates, and a new offline key.

Each document passes the checks of a kit (client.workspace.joining): signed by the pinned offline key or its
successor, continuing what is held here, naming this silo with its own keys. One that does not changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from client.workspace.joining import Admission, alone_in, examine, install
from client.workspace.tls_rotation import request_for
from client.workspace.workspace import Workspace
from common.consortium.certificates import read_certificate
from common.consortium.console import read_file
from common.consortium.kit import Kit
from common.consortium.request import JoinRequest
from common.consortium.roster import Roster
from common.consortium.signed_file import ForkedFile, OlderFile, RefusedFile
from common.consortium.succession import keys_after, read_successions
from common.errors import ConfigError, PhenofedError
from common.transport.documents import AUTHORITY, CERTIFICATE, LIMITS, REGISTRY, ROSTER, SUCCESSIONS, Documents

GROUPS = ((SUCCESSIONS,), (CERTIFICATE,), (CERTIFICATE, AUTHORITY, ROSTER), (AUTHORITY, ROSTER), (REGISTRY,))
"""What is judged together, in this order: a roster names its root, and a certificate belongs to one of both."""


@dataclass(frozen=True)
class Taken:
    """What changed. ``number``: the version of a roster or registry, else 0; ``digest``: of what it says."""

    name: str
    number: int
    digest: str


@dataclass(frozen=True)
class Refused:
    """``digest``: SHA-256 of the file; ``why``: a few words that nobody outside chose; ``error``: all of it."""

    name: str
    digest: str
    why: str
    error: str


@dataclass(frozen=True)
class Followed:
    """What came of an offer. ``appeared``, ``left``: members; ``key``: the new offline key (32 bytes), or None."""

    taken: tuple[Taken, ...] = ()
    refused: tuple[Refused, ...] = ()
    appeared: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    key: bytes | None = None


def held_documents(workspace: Workspace) -> dict[str, bytes]:
    """The consortium's documents as they lie in a workspace.

    Raises:
        ConfigError: one is larger than it may be.
    """
    paths = {name: workspace.folder / name for name in LIMITS}
    return {name: read_file(path, limit=LIMITS[name]) for name, path in paths.items() if path.exists()}


def follow(workspace: Workspace, offered: Documents) -> Followed:
    """Judge what the relay offers, install what holds.

    Raises:
        PhenofedError: the workspace itself cannot be read or written.
    """
    with alone_in(workspace):
        held, before = held_documents(workspace), workspace.roster()
        request = request_for(workspace, before.member(workspace.name).tls)
        key = workspace.offline_key
        wanted = {name: content for name, content in offered.items() if held.get(name) != content}
        if CERTIFICATE in wanted and not _is_newer(wanted[CERTIFICATE], held[CERTIFICATE]):
            del wanted[CERTIFICATE]
        kept, admission = dict(held), None
        refused: dict[str, Refused] = {}
        tried: list[set[str]] = []
        for group in GROUPS:
            brought = {name: wanted[name] for name in group if name in wanted and kept.get(name) != wanted[name]}
            if not brought or set(brought) in tried:
                continue
            tried.append(set(brought))
            try:
                admission = _examined(kept | brought, workspace, request)
                kept |= brought
                refused = {name: item for name, item in refused.items() if name not in brought}
            except PhenofedError as error:
                refused |= {name: _refusal(name, content, error) for name, content in brought.items()}
        if admission is None:
            return Followed(refused=tuple(refused.values()))
        install(admission, workspace)
        fresh = workspace.offline_key
        return Followed(
            tuple(_taken(name, kept, admission) for name in LIMITS if kept.get(name) != held.get(name)),
            tuple(refused.values()),
            *_members(before, admission.roster),
            key=fresh if fresh != key else None,
        )


def _examined(documents: Mapping[str, bytes], workspace: Workspace, request: JoinRequest) -> Admission:
    consortium = workspace.about.consortium or ""
    chain = read_successions(documents.get(SUCCESSIONS, b""))
    kit = Kit(
        consortium=consortium,
        member=workspace.name,
        offline_key=keys_after(workspace.offline_key, chain, consortium).newest,
        roster=documents[ROSTER],
        root=documents[AUTHORITY],
        registry=documents.get(REGISTRY, b""),
        certificate=documents[CERTIFICATE],
        successions=documents.get(SUCCESSIONS, b""),
    )
    return examine(kit, workspace, request)


def _is_newer(offered: bytes, held: bytes) -> bool:
    """Whether a certificate was not issued before the one held here; the relay may lag behind a kit.

    Certificates count whole seconds, and of two of one second the relay's is as good.
    """
    try:
        return read_certificate(offered).not_valid_before_utc >= read_certificate(held).not_valid_before_utc
    except ConfigError:
        return True  # to be refused


def _taken(name: str, documents: Mapping[str, bytes], admission: Admission) -> Taken:
    if name == ROSTER:
        return Taken(name, admission.roster.sequence, admission.roster.digest)
    if name == REGISTRY and admission.registry is not None:
        return Taken(name, admission.registry.version, admission.registry.digest)
    return Taken(name, 0, hashlib.sha256(documents[name]).hexdigest())


def _members(before: Roster, after: Roster) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who appeared, a known name with another card among them, and who left."""
    old, new = ({member.name: member.card for member in roster.members} for roster in (before, after))
    appeared = tuple(name for name, card in new.items() if old.get(name) != card)
    return appeared, tuple(name for name in old if name not in new)


def _refusal(name: str, content: bytes, error: PhenofedError) -> Refused:
    words: dict[type[PhenofedError], str] = {
        RefusedFile: "not signed by the consortium's key, or damaged",
        OlderFile: "older than the one held here",
        ForkedFile: "does not continue the one held here",
    }
    why = words.get(type(error), "does not fit this silo")
    return Refused(name, hashlib.sha256(content).hexdigest(), why, str(error))
