"""What stays local between the rounds of a run, in memory and on disk: ``training/<run>/round-*.safetensors``.

A state belongs to the very photos and labels that it was made from. Its parts stand in their order, and class rows
and anchors show who was among them: once the data differ, training goes on from a new one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from common.errors import TrainingError
from common.learning.local_state import LocalState
from common.storage import write_bytes

_DATA = "data"


class LocalStates:
    """The states of one silo in the folder ``training``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._newest: dict[str, tuple[int, bytes, LocalState]] = {}

    def before(self, run: str, round: int, *, seed: int, data: bytes) -> LocalState:
        """What stayed local after the newest round before ``round`` that this silo trained in.

        From memory, else from disk, so that a resumed run goes on alike. A round in which the silo had no part,
        or whose training failed, leaves no state and is passed over.

        Args:
            seed: of the silo in this run.
            data: (32 bytes) digest of what is trained on.

        Raises:
            TrainingError: no name for a run, or a damaged file.
        """
        known, made_from, newest = self._newest.pop(run, (-1, b"", None))
        if newest is None or made_from != data or newest.seed != seed:
            return self._from_disk(run, round, seed=seed, data=data)
        if known < round:
            return newest
        # The round is trained again, as after a restart of the coordinator. What the frozen part gave is the same.
        state = self._from_disk(run, round, seed=seed, data=data)
        state.views, state.parts = newest.views, newest.parts
        return state

    def _from_disk(self, run: str, round: int, *, seed: int, data: bytes) -> LocalState:
        kept = [number for number in self._rounds(run) if number < round]
        if not kept:
            return LocalState(seed)
        try:
            tensors = load(self._file(run, kept[-1]).read_bytes())
            same = bytes(tensors.pop(_DATA, torch.empty(0, dtype=torch.uint8)).numpy()) == data
            return LocalState.restored(seed, tensors) if same else LocalState(seed)
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"the silo's own state after round {kept[-1]} is damaged", remedy="start the run afresh"
            ) from error

    def keep(self, run: str, round: int, state: LocalState, *, data: bytes) -> None:
        """Write the state, then drop those that no resumption can ask for: all but the newest two."""
        tensors = {name: value.contiguous() for name, value in state.tensors().items()}
        tensors[_DATA] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        write_bytes(self._file(run, round), save(tensors), private=True)
        for old in self._rounds(run)[:-2]:
            self._file(run, old).unlink(missing_ok=True)
        self._newest[run] = (round, data, state)

    def _rounds(self, run: str) -> list[int]:
        files = self._file(run, 0).parent.glob("round-*.safetensors")
        return sorted(int(path.stem.removeprefix("round-")) for path in files)

    def _file(self, run: str, round: int) -> Path:
        if not run.replace("-", "").replace("_", "").replace(".", "").isalnum() or run.startswith("."):
            raise TrainingError(f"'{run}' is no name for a run", remedy="use letters, digits, '-', '_' and '.'")
        return self._folder / run / f"round-{round:05d}.safetensors"
