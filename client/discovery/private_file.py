"""Small private files of discovery: JSON of one known shape, readable by the owner alone, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from common.cohort.schema import Record
from common.errors import AgentError
from common.storage import write_text
from common.versions import refuse_newer

Content = TypeVar("Content", bound=Record)


def read_private(path: Path, kind: type[Content]) -> Content:
    """What the file holds, or ``kind()`` where there is no file yet.

    Raises:
        AgentError: the file is damaged, or of another version.
    """
    if not path.exists():
        return kind()
    try:
        content = path.read_bytes()
        refuse_newer(str(path), content, kind=AgentError)
        return kind.model_validate_json(content)
    except (OSError, ValidationError) as error:
        raise AgentError(f"{path} is damaged", remedy="restore it from a backup") from error


def write_private(path: Path, content: Record) -> None:
    """Write it, mode 0600."""
    write_text(path, content.model_dump_json(indent=1) + "\n", private=True)
