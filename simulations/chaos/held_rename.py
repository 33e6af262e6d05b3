"""Loaded by the coordinator's processes as ``sitecustomize``: stops one where its checkpoint takes its name.

    hold      "before" or "after" the rename; there the process waits until the file is gone, or it is killed
    reached   made by the process, with its number

Python imports a module of that name by itself where its folder is in PYTHONPATH. Nothing else is changed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

_FOLDER = Path(os.environ.get("PYTHONPATH", "").split(os.pathsep)[0])
_HOLD, _REACHED = _FOLDER / "hold", _FOLDER / "reached"
_replace: Any = os.replace


def _wait(when: str) -> None:
    try:
        if _HOLD.read_text() != when:
            return
    except OSError:
        return
    written = _FOLDER / "reached.new"
    written.write_text(str(os.getpid()))
    _replace(written, _REACHED)
    while _HOLD.exists():
        time.sleep(0.005)


def _held_replace(source: Any, target: Any, **places: Any) -> None:
    if Path(os.fsdecode(target)).name != "checkpoint.safetensors":
        _replace(source, target, **places)
        return
    _wait("before")
    _replace(source, target, **places)
    _wait("after")


if __name__ == "sitecustomize":
    vars(os)["replace"] = _held_replace
