"""A process that measures encrypted answers; the homomorphic library is loaded nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

from common.encryption.layout import Layout
from common.encryption.sanitise import NOISE, Noise
from common.errors import EncryptionError


class MeasuringProcess:
    """``common.encryption.measuring`` over one layout, prepared when the constructor returns; a context manager.

    Attributes:
        prepare_s: seconds that keys and gallery took.
    """

    def __init__(self, layout: Layout, *, patients: int = 0, noise: Noise = NOISE, seed: int = 0) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="phenofed-bench-")
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "common.encryption.measuring", self._folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **single, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
        about = {"layout": layout.to_json(), "patients": patients, "seed": seed}
        try:
            self.prepare_s: float = self.ask("prepare", noise=[noise.deviation, noise.scaled], **about)
        except BaseException:
            self.close()
            raise

    def ask(self, what: str, **about: Any) -> Any:
        """What ``Measured`` answers to this request.

        Raises:
            EncryptionError: the process ended over it; what it wrote to standard error says why.
        """
        self.send(what, **about)
        return self.receive()

    def send(self, what: str, **about: Any) -> None:
        """Begin a request, to be followed by ``receive``: several processes work at the same time."""
        assert self._process.stdin is not None
        print(json.dumps({"do": what, **about}), file=self._process.stdin, flush=True)

    def receive(self) -> Any:
        """The answer to what was sent."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EncryptionError("the measuring process ended", remedy="see what it wrote above")
        return json.loads(line)

    def close(self) -> None:
        """End the process and remove its folder."""
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
