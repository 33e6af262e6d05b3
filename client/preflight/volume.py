"""Whether the volume under the workspace is encrypted, as far as Linux can tell (dm-crypt)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from client.preflight.finding import Finding, ok, warning
from client.preflight.site import Site

_REMEDY = "put the workspace on a LUKS volume, or make sure that the disk or the hypervisor encrypts"


def volume(site: Site) -> Iterator[Finding]:
    """Fine only where dm-crypt is seen; everything else is unknown, never fine."""
    found = layers(site.workspace.folder)
    if found is None:
        yield warning(
            "unknown: the file system says nothing of the device below it",
            remedy=_REMEDY,
        )
    elif encrypted(found):
        yield ok("the volume lies on dm-crypt")
    else:
        yield warning(
            "unknown: there is no dm-crypt; what a disk or a hypervisor encrypts cannot be seen from here",
            remedy=_REMEDY,
        )


Layers = tuple[str, tuple["Layers", ...]]
"""(device-mapper uuid or empty, the devices that it lies on)."""


def layers(
    folder: Path, *, devices: Path = Path("/sys/dev/block"), mounts: Path = Path("/proc/self/mountinfo")
) -> Layers | None:
    """The block devices under a folder; None where they cannot be told."""
    number = folder.stat().st_dev
    if os.major(number) == 0:
        # btrfs and others number their volumes themselves; the mount names the device.
        number = _mounted_device(number, mounts)
    device = devices / f"{os.major(number)}:{os.minor(number)}"
    return _layers(device) if number and device.exists() else None


def encrypted(found: Layers) -> bool:
    """Whether every way down goes through dm-crypt."""
    uuid, below = found
    return uuid.startswith("CRYPT-") or (bool(below) and all(encrypted(layer) for layer in below))


def _layers(device: Path) -> Layers:
    try:
        uuid = (device / "dm" / "uuid").read_text().strip()
    except OSError:
        uuid = ""
    slaves = device / "slaves"
    return uuid, tuple(_layers(path) for path in sorted(slaves.iterdir())) if slaves.is_dir() else ()


def _mounted_device(number: int, mounts: Path) -> int:
    """The device that a mount names; 0 where it names none."""
    wanted = f"{os.major(number)}:{os.minor(number)}"
    try:
        for line in mounts.read_text().splitlines():
            before, _, after = line.partition(" - ")
            if before.split()[2] == wanted:
                source = after.split()[1]
                return os.stat(source).st_rdev if source.startswith("/dev/") else 0
    except (OSError, IndexError):
        return 0
    return 0
