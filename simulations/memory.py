"""Keep freed memory in the process instead of handing it back after every batch.

glibc returns large freed blocks to the system at once, or not, as they happen to lie; a network's layers then pay
for fresh pages at every batch, up to a quarter of the CPU-seconds of a thin network.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
LARGEST_BLOCK = 1 << 30


def reuse_freed_memory() -> bool:
    """Tell glibc to keep freed blocks below 1 GiB; False where there is no glibc. Affects the whole process."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(name, LARGEST_BLOCK) == 1 for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
