"""A scenario: everything that decides what a simulated run computes, in one YAML file.

    scenario = load_scenario(Path("simulations/scenarios/demo.yaml"), overrides=["seed=1", "training.rounds=3"])

Paths are relative to the folder that the command runs in; ``builtin:NAME`` names a file that phenofed ships.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from common.cohort.splits import Setting
from common.config import Settings, load
from common.errors import ConfigError
from common.learning.plan import TrainingPlan
from common.models.specs import BackboneSpec, Device
from simulations.synthetic import SyntheticSpec
from simulations.weights import locate

SHIPPED = Path(__file__).parent / "scenarios"
BUILTIN = "builtin:"
Mode = Literal["pretrained", "local", "federated", "centralised"]


class SyntheticCohort(Settings):
    """Procedural faces, rendered anew from the scenario's seed."""

    kind: Literal["synthetic"]
    spec: SyntheticSpec = SyntheticSpec()


class GmdbCohort(Settings):
    """Photographs in the layout of the GestaltMatcher Database, split by its federated files.

    ``detector``: YuNet file for photos without landmarks, with its ``detector_sha256``.
    """

    kind: Literal["gmdb"]
    path: Path
    version: str | None = None
    partition: str = "uniform"
    silos: Annotated[int, Field(ge=2, le=256)] = 4
    detector: Path | None = None
    detector_sha256: str | None = None


class StoredCohort(Settings):
    """A cohort that ``phenofed cohort import`` stored, with its protocol."""

    kind: Literal["stored"]
    path: Path


Source = Annotated[SyntheticCohort | GmdbCohort | StoredCohort, Field(discriminator="kind")]


class Federation(Settings):
    """How the rounds run. ``clients_at_once``, ``gpus_per_client``, ``ray_address`` concern the ray engine alone.

    A silo for which a GPU, or a share of one, was set aside trains on it; without, it trains on the processor.
    """

    engine: Literal["inline", "ray"] = "inline"
    deadline_s: Annotated[float, Field(gt=0)] = 3600.0
    quorum: Annotated[int, Field(ge=2)] = 2
    max_update_norm: Annotated[float, Field(gt=0)] | None = None
    patient_cap: Annotated[int, Field(ge=1)] | None = None
    clients_at_once: Annotated[int, Field(ge=1)] = 2
    gpus_per_client: Annotated[float, Field(ge=0, le=1)] = 0.0
    ray_address: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\[\]:-]+:[0-9]{1,5}$")] | None = None


class Ranking(Settings):
    """How probes are ranked.

    ``views``: test-time views of a photo: 1 as it is, 2 with its mirror image, 4 with both in grey too.
    ``probes``: ask with one photo at a time, as the field's protocol does, or with a patient's photos together.
    ``ensemble``: rank by the trained and the untouched network together. ``untouched_share``: what the untouched
    one counts in a cosine; more of it favours syndromes that training never saw. ``scorer``: None lets the
    validation patients choose.
    """

    views: Literal[1, 2, 4] = 2
    probes: Literal["photo", "patient"] = "photo"
    ensemble: bool = True
    untouched_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    scorer: Literal["nearest", "centroid", "hybrid", "encryptable"] | None = None


class Encryption(Settings):
    """The encrypted ranking of the federated model.

    ``splits``: at most so many rare splits a setting. ``queries``: at most so many probes of each of them. None
    stands for all. ``kernel`` and ``profile`` are those of deployed silos, but that budgets are counted and not
    enforced. 'simulation' has no floors, needs neither noise nor a panel of three, and is no protection.
    """

    enabled: bool = True
    settings: tuple[Setting, ...] = (Setting.FF,)
    splits: Annotated[int, Field(ge=1)] | None = 1
    queries: Annotated[int, Field(ge=1)] | None = 64
    kernel: Literal["linear", "quadratic"] = "linear"
    noise: bool = True
    profile: Literal["strict", "standard", "open", "simulation"] = "standard"

    @model_validator(mode="after")
    def _noise_fits(self) -> Encryption:
        if not self.noise and self.profile != "simulation":
            raise ValueError("noise=false needs profile=simulation: without noise an answer leaks the silos' rows")
        return self


class Scenario(Settings):
    """One split and one seed, all modes.

    ``device``: where networks run: auto, cpu, cuda or cuda:N. The ray engine's silos follow ``gpus_per_client``.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    seed: Annotated[int, Field(ge=0)] = 0
    cohort: Source
    backbone: BackboneSpec
    training: TrainingPlan = TrainingPlan()
    federation: Federation = Federation()
    modes: tuple[Mode, ...] = ("pretrained", "local", "federated", "centralised")
    ranking: Ranking = Ranking()
    encryption: Encryption = Encryption()
    device: Device = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None
    show_imported_photos: bool = False

    @field_validator("backbone", mode="before")
    @classmethod
    def _find_shipped(cls, value: Any) -> Any:
        path = str(value.get("path", "")) if isinstance(value, Mapping) else ""
        if not path.startswith(BUILTIN):
            return value
        return {**value, "path": str(locate(Path(path.removeprefix(BUILTIN)).stem))}

    @model_validator(mode="after")
    def _modes_fit(self) -> Scenario:
        if "pretrained" not in self.modes:
            raise ValueError("modes must hold 'pretrained', which every other mode starts from")
        if len(set(self.modes)) < len(self.modes):
            raise ValueError("a mode stands twice in modes")
        return self

    @model_validator(mode="after")
    def _gpus_fit(self) -> Scenario:
        if self.federation.engine != "ray":
            return self
        if self.device == "cpu" and self.federation.gpus_per_client > 0:
            raise ValueError("device=cpu leaves idle what federation.gpus_per_client sets aside; use device=auto")
        if self.device.startswith("cuda") and self.federation.gpus_per_client == 0:
            raise ValueError(
                f"device={self.device} with federation.engine=ray needs federation.gpus_per_client, such as 0.5"
            )
        return self


def load_scenario(path: Path | str, *, overrides: Iterable[str] = ()) -> Scenario:
    """Read a scenario file, or one of those that phenofed ships by its bare name.

    Raises:
        ConfigError: no such file, or one that does not fit; every problem in one message.
    """
    chosen = Path(path)
    if not chosen.is_file() and (SHIPPED / f"{path}.yaml").is_file():
        chosen = SHIPPED / f"{path}.yaml"
    if not chosen.is_file():
        known = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
        raise ConfigError(f"no scenario {path}", remedy=f"give a file, or one of: {known}")
    return load(chosen, Scenario, overrides=overrides)


def as_json(scenario: Scenario) -> dict[str, Any]:
    """The scenario with every default spelled out, as JSON types."""
    return scenario.model_dump(mode="json")
