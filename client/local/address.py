"""The address of a local socket whose path may be of any length.

The kernel takes 107 bytes (unix(7)), and a workspace may lie deeper: such a path goes by its open folder.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_BYTES = 107


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """A short address of the socket at ``path``, to bind or connect to within the block.

    Raises:
        OSError: the folder cannot be opened.
    """
    if len(os.fsencode(path)) <= MOST_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def serves(path: Path) -> bool:
    """Whether anybody listens at ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            with address_of(path) as address:
                probe.connect(address)
        except OSError:
            return False
        return True
