"""Measuring: CPU-seconds, repetitions, and the memory that the process needed at most."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Samples:
    """CPU-seconds of all threads of this process, one for each repetition; not what it waited for."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """The least and the most, as text."""
        return f"{min(self.seconds):.3g} .. {max(self.seconds):.3g}"


def clocked(work: Callable[[], Result]) -> tuple[float, Result]:
    """(CPU-seconds, what ``work`` gave)."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def repeated(times: int, work: Callable[[], object]) -> Samples:
    """``work`` once to warm up, then ``times`` times by the clock."""
    work()
    return Samples(tuple(clocked(work)[0] for _ in range(times)))


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, in megabytes of 10**6 bytes."""
    try:
        # Unlike getrusage, this does not begin with the peak of the process that started this one.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6
    except (OSError, StopIteration, ValueError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
