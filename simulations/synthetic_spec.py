"""The settings of a synthetic cohort."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.config import Settings
from simulations import synthetic_splits as splits
from simulations.faces.syndromes import SYNDROMES

Share = Annotated[float, Field(ge=0, le=1)]


class SyntheticSpec(Settings):
    """The shape of a synthetic cohort.

    ``rare_share``: share of the syndromes that have two to six patients; the others have seven or more, by a power
    law of exponent ``tail``. ``photos_per_patient``: mean; everybody has one to five. ``severity``: 1 moves traits
    as the term table says. ``penetrance``: 1 shows terms as often as annotated, 0 never. ``identity_spread``:
    standard deviation of the traits that make a person, 1 is the population's. ``case_mix``: 'uniform' deals
    every syndrome evenly to the silos, 'site' unequally by ``skew``, 'disjoint' gives each syndrome to one silo.
    ``camera_spread``: how much the silos' cameras differ.
    """

    syndromes: Annotated[int, Field(ge=2, le=len(SYNDROMES))] = 10
    rare_share: Share = 0.3
    patients: Annotated[int, Field(ge=14, le=100_000)] = 180
    tail: Annotated[float, Field(ge=0, le=3)] = 0.8
    photos_per_patient: Annotated[float, Field(ge=1, le=4)] = 1.6
    silos: Annotated[int, Field(ge=1, le=256)] = 4
    case_mix: Literal["uniform", "site", "disjoint"] = "uniform"
    skew: Share = 0.7
    severity: Annotated[float, Field(gt=0, le=3)] = 1.0
    penetrance: Share = 1.0
    identity_spread: Annotated[float, Field(ge=0, le=2)] = 0.8
    camera_spread: Annotated[float, Field(ge=0, le=2)] = 1.0
    test_share: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    val_share: Annotated[float, Field(gt=0, le=0.3)] = 0.1

    @property
    def rare(self) -> int:
        """How many syndromes are rare; two at least are frequent, since training needs two."""
        return min(round(self.rare_share * self.syndromes), self.syndromes - 2)

    @model_validator(mode="after")
    def _enough(self) -> SyntheticSpec:
        frequent = self.syndromes - self.rare
        needed = (splits.RARE_MAX + 1) * frequent + splits.RARE_MAX * self.rare
        if self.patients < needed:
            raise ValueError(
                f"{self.patients} patients are too few for {frequent} frequent and {self.rare} rare syndromes "
                f"(set patients to at least {needed})"
            )
        if self.case_mix == "disjoint" and frequent < self.silos:
            raise ValueError(
                f"{frequent} frequent syndromes cannot be dealt to {self.silos} silos without a common one "
                "(set more syndromes, fewer silos or a smaller rare_share)"
            )
        return self
