"""The folder of a run: what lies where in it. Finished stages leave a file, so that a run can go on later."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from common.config import parse, read_yaml
from common.errors import RunError
from common.storage import write_text
from simulations.scenario import Scenario, as_json


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run.

    ``silos/<name>``: each hospital's workspace; ``pooled``: all of them together, for the centralised mode;
    ``training/<run>``: checkpoints; ``encodings``: arrays of each model.
    """

    path: Path

    @property
    def scenario(self) -> Path:
        return self.path / "scenario.yaml"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    @property
    def all_encodings(self) -> Path:
        return self.path / "all_encodings.csv"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def cohort(self) -> Path:
        return self.path / "cohort"

    @property
    def pooled(self) -> Path:
        return self.path / "pooled"

    def silo(self, name: str) -> Path:
        return self.path / "silos" / name

    def training(self, run: str) -> Path:
        return self.path / "training" / run

    def encodings(self, model: str) -> Path:
        return self.path / "encodings" / f"{model}.safetensors"

    def start(self, scenario: Scenario, *, replace: bool) -> None:
        """Make the folder for ``scenario``.

        Raises:
            RunError: it holds a run already, and ``replace`` is off; or something that is no run.
        """
        if self.path.exists() and any(self.path.iterdir()):
            if not self.scenario.is_file():
                raise RunError(f"{self.path} holds something that is no run", remedy="choose another folder")
            if not replace:
                raise RunError(
                    f"{self.path} holds a run already",
                    remedy=f"continue it with --resume {self.path}, or start it afresh with --overwrite",
                )
            self._clear()
        write_text(self.scenario, yaml.safe_dump(as_json(scenario), sort_keys=False))

    def read_scenario(self) -> Scenario:
        """The scenario of the run that lies here."""
        if not self.scenario.is_file():
            raise RunError(f"{self.path} holds no run", remedy="give the folder that `phenofed simulate` wrote")
        return parse(read_yaml(self.scenario), Scenario, origin=str(self.scenario))

    def read_results(self) -> dict[str, object]:
        """The results of a finished run.

        Raises:
            RunError: no run, or one that has not come to its end.
        """
        scenario = self.read_scenario()
        try:
            results: dict[str, object] = json.loads(self.results.read_text())
        except FileNotFoundError:
            raise RunError(
                f"the run '{scenario.name}' in {self.path} is not finished",
                remedy=f"continue it with phenofed simulate --resume {self.path}",
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.results} is damaged", remedy=f"repeat with --resume {self.path}") from error
        return results

    def _clear(self) -> None:
        """Remove what a run writes, and nothing else."""
        for name in ("cohort", "pooled", "silos", "training", "encodings", "releases", "probes"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for file in (self.results, self.predictions, self.all_encodings, self.report, self.scenario):
            file.unlink(missing_ok=True)
