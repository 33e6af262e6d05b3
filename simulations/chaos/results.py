"""What a seed came to, as it is kept: one JSON file a seed, written when the seed is done."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from common.config import Settings
from common.errors import RunError
from common.storage import write_text


class FaultResult(Settings):
    """One fault. ``recovery_s``: to the next round that counted, ``waited_s`` of it Flower's own."""

    fault: str
    round: int
    silos: tuple[str, ...] = ()
    recovery_s: float | None = None
    waited_s: float = 0.0
    note: str = ""
    failed: str = ""
    extra: dict[str, float] = Field(default_factory=dict)


class SeedResult(Settings):
    """One seed: a run over processes (``faults``), and one of single messages (``messages``).

    ``rounds_discarded``, ``rounds_repeated``: lost. ``counted_twice``: rounds whose mean is not that of one update
    of each silo. ``bit_equal``: with what the same silos come to undisturbed. ``leaked``: bytes of windows of
    pixels, photo files and embeddings in ``scanned`` bytes that were sent. ``named_in``: logs that name a patient.
    """

    version: Literal[1] = 1
    seed: int
    silos: int
    seconds: float
    rounds: int
    faults: tuple[FaultResult, ...]
    messages: tuple[FaultResult, ...]
    completed: bool
    starts: int
    rounds_discarded: int
    rounds_repeated: int
    counted_twice: int
    bit_equal: bool
    messages_bit_equal: bool
    scanned: dict[str, int]
    leaked: dict[str, int]
    control_found: bool
    named_in: tuple[str, ...]
    problems: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether everything that must hold held."""
        return not self.failures

    @property
    def failures(self) -> list[str]:
        """What did not hold."""
        found = list(self.problems)
        found += [f"{item.fault}: {item.failed}" for item in (*self.faults, *self.messages) if item.failed]
        found += ["the run did not complete"] if not self.completed else []
        found += [f"{self.counted_twice} rounds with other means"] if self.counted_twice else []
        found += ["not bit-equal after resuming"] if not self.bit_equal else []
        found += ["not bit-equal after altered messages"] if not self.messages_bit_equal else []
        found += [f"sent in clear: {self.leaked}"] if self.leaked else []
        found += ["the scan did not find what was sent"] if not self.control_found else []
        found += [f"a patient is named in {', '.join(self.named_in)}"] if self.named_in else []
        return found


def write(folder: Path, result: SeedResult) -> None:
    """Keep a seed's result."""
    write_text(folder / f"seed-{result.seed:04d}.json", result.model_dump_json(indent=1) + "\n")


def read(folder: Path, seed: int) -> SeedResult | None:
    """A seed's result; None where there is none.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / f"seed-{seed:04d}.json"
    try:
        return SeedResult.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise RunError(f"{path} is damaged", remedy="remove it to run that seed again") from error
