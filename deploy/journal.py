"""Several files of the operator's folder changed at once: all of them, or none.

What is to be written is written down first, whole, in one private file; then it is done; then that file goes. A
folder whose command was killed in between is brought to its end by the next command that opens it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from common.errors import ConfigError
from common.storage import write_bytes

FILE = ".pending.json"
_PRIVATE = ("offline.keys", "relay/key.pem")

Changes = Mapping[str, bytes | None]
"""Path within the folder -> its new content, None to remove it."""


def commit(folder: Path, changes: Changes) -> None:
    """Make the changes.

    Raises:
        RunError: the disk refuses; either nothing was changed, or the next command goes on.
    """
    encoded = {path: None if part is None else base64.b64encode(part).decode() for path, part in changes.items()}
    content = json.dumps({"version": 1, "changes": encoded}).encode()
    write_bytes(folder / FILE, content, private=True)
    _apply(folder, changes)
    (folder / FILE).unlink()


def is_pending(folder: Path) -> bool:
    """Whether a command was interrupted."""
    return (folder / FILE).exists()


def recover(folder: Path) -> None:
    """Bring an interrupted command to its end. To be called by whoever alone changes the folder.

    Raises:
        ConfigError: what it left is damaged.
    """
    if not is_pending(folder):
        return
    try:
        listed = json.loads((folder / FILE).read_bytes())
        if listed["version"] != 1:
            raise ValueError("another version")
        changes = {
            str(path): None if content is None else base64.b64decode(content, validate=True)
            for path, content in listed["changes"].items()
        }
        if any(Path(path).is_absolute() or ".." in Path(path).parts for path in changes):
            raise ValueError("out of the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{folder / FILE} of an interrupted command is damaged", remedy="restore the folder from its copy"
        ) from error
    _apply(folder, changes)
    (folder / FILE).unlink()


def _apply(folder: Path, changes: Changes) -> None:
    for path, content in changes.items():
        if content is None:
            (folder / path).unlink(missing_ok=True)
        else:
            write_bytes(folder / path, content, private=path in _PRIVATE)
