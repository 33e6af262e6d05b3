"""The coordinator's state between rounds: one file, written whole, from which a run goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from common.errors import RunError
from common.records import Parameters, digest
from common.storage import write_bytes
from common.versions import newer_file

VERSION = 1
FILE = "checkpoint.safetensors"
_MOST_HEAD = 64 << 20


@dataclass(frozen=True)
class RoundSummary:
    """What happened in a round: who counted, who did not and why.

    ``losses``: mean training loss by included silo. ``excluded``: reason by silo. ``discarded``: too few
    valid updates, so the shared model stayed as it was. ``cpu_seconds``: of the coordinator's process, which in
    an inline simulation is everybody's. ``patients``, ``photos``: trained on, by included silo.
    """

    round: int
    seconds: float
    cpu_seconds: float
    losses: dict[str, float]
    excluded: dict[str, str]
    discarded: bool
    update_norm: float
    patients: dict[str, int] = field(default_factory=dict)
    photos: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """The shared model after ``len(history)`` rounds of ``run``."""

    run: str
    parameters: Parameters = field(repr=False)
    history: tuple[RoundSummary, ...] = ()

    @property
    def round(self) -> int:
        """Rounds done."""
        return len(self.history)


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint atomically: weights and history are never of different rounds."""
    state = {
        "version": VERSION,
        "run": checkpoint.run,
        "history": [asdict(summary) for summary in checkpoint.history],
        "digest": digest(checkpoint.parameters),
    }
    arrays = {name: np.asarray(value, order="C") for name, value in checkpoint.parameters.items()}
    write_bytes(folder / FILE, save(arrays, metadata={"state": json.dumps(state, sort_keys=True)}))


def read(folder: Path) -> Checkpoint | None:
    """The folder's checkpoint, or None where there is none.

    Raises:
        RunError: the file is damaged, altered or of another version.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
        parameters = load(content)
        length = int.from_bytes(content[:8], "little")
        state = _state(content[8 : 8 + length])
        history = tuple(RoundSummary(**summary) for summary in state["history"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged", remedy="remove it to start the run afresh") from error
    if state["version"] != VERSION or state["digest"] != digest(parameters):
        raise RunError(f"{path} is altered or of another version", remedy="remove it to start the run afresh")
    return Checkpoint(state["run"], parameters, history)


def read_history(folder: Path) -> tuple[RoundSummary, ...] | None:
    """The rounds of the folder's checkpoint, without a look at its weights; None where there is none.

    Raises:
        RunError: the file's head is damaged or of another version.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MOST_HEAD:
                raise ValueError("no head")
            state = _state(file.read(length))
        if state["version"] == VERSION:
            return tuple(RoundSummary(**summary) for summary in state["history"])
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged", remedy="restore it, or remove it to start the run afresh") from error
    raise RunError(f"{path} is of another version", remedy="use the release of phenofed that wrote it")


def _state(head: bytes) -> dict[str, Any]:
    """What stands beside the weights, from the head of a safetensors file."""
    state: dict[str, Any] = json.loads(json.loads(head)["__metadata__"]["state"])
    newer = newer_file("the checkpoint", state["version"], VERSION, kind=RunError)
    if newer is not None:
        raise newer
    return state
