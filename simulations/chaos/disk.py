"""A disk that can be filled: a small file system in memory where one may be mounted, else a limit on writing.

Where nobody may mount, the limit (RLIMIT_FSIZE of 0) makes every write of a process fail with EFBIG, where a full
disk says ENOSPC: for the program it is the same refusal of the same calls.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

SIZE = "64m"
_FILLING = ".filling"


class Disk:
    """What lies in ``folder``, which exists, on a disk of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._limited = folder, {}
        aside = folder.with_name(f"{folder.name}.aside")
        folder.rename(aside)
        folder.mkdir(mode=aside.stat().st_mode & 0o777)
        self.mounted = os.geteuid() == 0 and _mount(folder)
        shutil.copytree(aside, folder, dirs_exist_ok=True, symlinks=True)
        shutil.rmtree(aside)

    _limited: dict[int, tuple[int, int]]

    @property
    def kind(self) -> str:
        """What is full when it is full."""
        return "ENOSPC of a small file system" if self.mounted else "EFBIG of a limit on files"

    def fill(self, writers: Iterable[int]) -> None:
        """Leave no room.

        Args:
            writers: processes that write there.
        """
        if self.mounted:
            block = bytes(1 << 16)
            with (self._folder / _FILLING).open("wb", buffering=0) as file:
                for size in (len(block), 4096, 1):
                    try:
                        while True:
                            file.write(block[:size])
                    except OSError as error:
                        if error.errno != errno.ENOSPC:
                            raise
            return
        for pid in writers:
            self._limited[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, self._limited[pid][1]))

    def free(self) -> None:
        """Make room again."""
        (self._folder / _FILLING).unlink(missing_ok=True)
        for pid, limits in self._limited.items():
            try:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
            except ProcessLookupError:
                continue
        self._limited.clear()

    def close(self) -> None:
        """Keep the content, on the disk on which the folder was."""
        self.free()
        if not self.mounted:
            return
        aside = self._folder.with_name(f"{self._folder.name}.aside")
        shutil.copytree(self._folder, aside, symlinks=True, ignore=_sockets)
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True)
        self._folder.rmdir()
        aside.rename(self._folder)


def _mount(folder: Path) -> bool:
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "phenofed-chaos", str(folder)],
            capture_output=True,
        )
    except OSError:
        return False
    return done.returncode == 0


def _sockets(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if Path(folder, name).is_socket()}
