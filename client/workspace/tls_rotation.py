"""A silo's next TLS key: made beside the one in use, and taken into use when the roster lists it.

``request.new.json`` asks for its certificate; ``private.key`` holds both keys meanwhile. A join that is
interrupted is brought to its end by the next one.
"""

from __future__ import annotations

from dataclasses import replace

from client.workspace.workspace import Workspace
from common.consortium.certificates import key_from_pem, key_to_pem, new_key
from common.consortium.console import read_file
from common.consortium.request import MAX_BYTES, JoinRequest, read_request, write_request
from common.consortium.signed_file import RefusedFile
from common.errors import ConfigError
from common.storage import write_bytes

REQUEST, NEW_REQUEST = "request.json", "request.new.json"


def begin_rotation(workspace: Workspace) -> None:
    """Make the next key and the request; one that was made before and not answered is replaced."""
    keys = replace(workspace.keys, next_tls_key=key_to_pem(new_key()))
    former = read_request(read_file(workspace.folder / REQUEST, limit=MAX_BYTES))
    request = write_request(
        keys.member, key_from_pem(keys.next_tls_key), title=former.title, contact=former.contact
    )
    workspace.seal(keys)
    write_bytes(workspace.folder / NEW_REQUEST, request)


def request_for(workspace: Workspace, tls: str | None) -> JoinRequest:
    """The request that a roster answers which lists ``tls`` for this silo: the new one, or the first."""
    new = workspace.folder / NEW_REQUEST
    if new.exists():
        asked = read_request(read_file(new, limit=MAX_BYTES))
        if asked.tls == tls:
            return asked
    return read_request(read_file(workspace.folder / REQUEST, limit=MAX_BYTES))


def listed_tls(name: str, roster: bytes, key: bytes) -> str | None:
    """The TLS key that a kit's roster lists for this silo; None where the roster cannot be used."""
    from common.consortium.roster import read_roster

    try:
        found = read_roster(roster, key)
    except (RefusedFile, ConfigError):
        return None  # what is wrong with it is told by who examines the kit
    return found.member(name).tls if found.holds(name) else None


def end_rotation(workspace: Workspace, request: JoinRequest) -> None:
    """Use the key of ``request`` from now on, after its certificate was installed."""
    new = workspace.folder / NEW_REQUEST
    if not new.exists() or read_request(read_file(new, limit=MAX_BYTES)).tls != request.tls:
        return
    keys = workspace.keys
    if keys.next_tls_key:
        workspace.seal(replace(keys, tls_key=keys.next_tls_key, next_tls_key=b""))
    write_bytes(workspace.folder / REQUEST, new.read_bytes())
    new.unlink()
