"""The folder of a trial: the operator's folder, a workspace for each silo, and what holds the processes together.

trial.json          the scenario and the silos' names; written last, when everything else is there
processes.json      what runs
operator/           the operator's folder, offline keys included
keys/               the key file of each party; in real life, each has its own machine
SILO/               a workspace for each silo
releases/           signed models, and the key that signs them
held-out/           patients of the scenario whom no gallery holds
probes/             photos of some of them, where they are synthetic
plans/              drafts of the plans that were signed
logs/               what relay and agents wrote
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from common.config import Settings
from common.consortium.fields import Name
from common.errors import RunError
from common.storage import write_json
from simulations.scenario import Scenario

_LOCK = ".lock"


class About(Settings):
    """What trial.json holds."""

    version: Literal[1] = 1
    scenario: Scenario
    silos: tuple[Name, ...]


class TrialFolder:
    """The trial in ``path``."""

    def __init__(self, path: Path) -> None:
        # Processes are given whole paths: they run wherever the command is called again.
        self.path = path.resolve()

    @property
    def operator(self) -> Path:
        return self.path / "operator"

    @property
    def relay(self) -> Path:
        return self.operator / "relay"

    @property
    def releases(self) -> Path:
        return self.path / "releases"

    @property
    def held_out(self) -> Path:
        return self.path / "held-out"

    @property
    def probes(self) -> Path:
        return self.path / "probes"

    @property
    def processes(self) -> Path:
        return self.path / "processes.json"

    @property
    def founded(self) -> bool:
        """Whether a trial lies here."""
        return (self.path / "trial.json").is_file()

    def workspace(self, silo: str) -> Path:
        return self.path / silo

    def key_file(self, party: str) -> Path:
        return self.path / "keys" / f"{party}.key"

    def log(self, process: str) -> Path:
        return self.path / "logs" / f"{process}.log"

    def about(self) -> About:
        """What trial.json says.

        Raises:
            RunError: no trial lies here, or the file is damaged.
        """
        try:
            return About.model_validate_json((self.path / "trial.json").read_bytes())
        except OSError as error:
            raise RunError(f"{self.path} holds no trial", remedy="run phenofed poc up") from error
        except ValidationError as error:
            raise RunError(f"{self.path / 'trial.json'} is damaged", remedy="begin in a new folder") from error

    def remember(self, about: About) -> None:
        """Write trial.json."""
        write_json(self.path / "trial.json", about.model_dump(mode="json"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time start and end processes; the folder is made where there is none.

        Raises:
            RunError: another command works on it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / _LOCK).open("w")
        except OSError as error:
            raise RunError(f"cannot use {self.path} ({error.strerror})", remedy="choose another folder") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                remedy = "wait for it, or end it with Ctrl-C"
                raise RunError(f"another command works on {self.path}", remedy=remedy) from error
            yield

    @contextmanager
    def filled_or_left_empty(self) -> Iterator[None]:
        """Take away what was made here in this block, should it fail.

        Raises:
            RunError: something lies here already.
        """
        if any(path.name != _LOCK for path in self.path.iterdir()):
            raise RunError(f"{self.path} is not empty, and holds no trial", remedy="name a new folder")
        try:
            yield
        except BaseException:
            for path in self.path.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            raise
