"""A kit: what the operator hands to a hospital. One zip file without any private key.

``kit.json`` names the consortium, the member it is for and the offline key; roster and registry are signed by that
key; the roster names the root certificate and the member's TLS key. A kit for nobody in particular carries
only newer rosters and registries, for every member.
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from common.config import Settings
from common.consortium.fields import Hash, Name
from common.errors import ConfigError
from common.versions import refuse_newer

MAX_BYTES = 24 << 20

_HEAD = "kit.json"
_FILES = {
    "roster": "roster.json",
    "registry": "registry.json",
    "root": "ca.pem",
    "certificate": "certificate.pem",
    "policy": "policy.yaml",
    "successions": "successions.json",
}
_UNREADABLE = (
    zipfile.BadZipFile,
    ValidationError,
    ValueError,
    LookupError,
    EOFError,
    OSError,
    RuntimeError,
    struct.error,
)
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Kit:
    """``member``: its roster name, or None for everybody; ``offline_key``: (32 bytes) of the operator.

    ``roster`` and ``registry``: signed files, the latter empty where there is none yet; ``root``, ``certificate``:
    PEM, the latter empty in a kit for everybody; two roots while the root is being changed; ``policy``: the
    operator's proposal, YAML; ``successions``: how earlier offline keys handed over to this one, if any did.
    """

    consortium: str
    member: str | None
    offline_key: bytes
    roster: bytes
    root: bytes
    registry: bytes = b""
    certificate: bytes = b""
    policy: bytes = b""
    successions: bytes = b""


def write_kit(kit: Kit) -> bytes:
    """The zip file; the same kit gives the same bytes."""
    head = _Head(
        version=1, consortium=kit.consortium, member=kit.member, offline_key=kit.offline_key.hex()
    ).model_dump_json(indent=1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_HEAD, _DATE), head + "\n")
        for field, name in _FILES.items():
            if content := getattr(kit, field):
                archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return buffer.getvalue()


def read_kit(content: bytes) -> Kit:
    """The kit in a zip file. Its parts are not judged here; nothing is unpacked onto the disk.

    Raises:
        ConfigError: no kit, or one with other files than a kit has.
    """
    try:
        if len(content) > MAX_BYTES:
            raise ValueError("too large")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            # Told before anything is read: a thousand entries could share the same bytes.
            if len(set(names)) != len(names) or not set(names) <= {_HEAD, *_FILES.values()}:
                raise ValueError("other files than a kit has")
            parts = {info.filename: _part(archive, info) for info in archive.infolist()}
        refuse_newer("the kit", parts[_HEAD], kind=ConfigError)
        head = _Head.model_validate_json(parts.pop(_HEAD))
        if not {"roster.json", "ca.pem"} <= set(parts):
            raise ValueError("too few files")
    except _UNREADABLE as error:
        raise ConfigError("this is no kit, or a damaged one", remedy="ask the operator for it again") from error
    fields = {field: parts.get(name, b"") for field, name in _FILES.items()}
    return Kit(head.consortium, head.member, bytes.fromhex(head.offline_key), **fields)


class _Head(Settings):
    version: Literal[1]
    consortium: Name
    member: Name | None
    offline_key: Hash


def _part(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    # Kits are stored, not compressed: nothing can swell, and the sizes in the headers are bounded by the file's.
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > MAX_BYTES:
        raise ValueError("compressed or too large")
    return archive.read(info)
