"""Who is trained on, who is asked, who is in the gallery, and at which silo: the field's protocol as data.

Frequent syndromes have more than six patients, rare ones two to six. A rare split divides the rare patients
anew; figures for rare syndromes are means over all rare splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Setting(StrEnum):
    """Test patients / gallery: F frequent, R rare syndromes."""

    FF = "F/F"
    RR = "R/R"
    F_BOTH = "F/both"
    R_BOTH = "R/both"


@dataclass(frozen=True)
class RareSplit:
    """One division of the rare syndromes' photos into probes and gallery (photo ids)."""

    test: tuple[str, ...]
    gallery: tuple[str, ...]


@dataclass(frozen=True)
class Protocol:
    """Photo ids by role. Patients never stand on both sides of a comparison.

    ``silo_of``: photo id -> silo name, for every photo of train, val, and the galleries; probes have one too
    where the split files say so. ``label_of``: photo id -> syndrome key. ``patient_of``: photo id -> patient id.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    frequent_gallery: tuple[str, ...]
    frequent_test: tuple[str, ...]
    rare: tuple[RareSplit, ...]
    label_of: Mapping[str, str]
    patient_of: Mapping[str, str]
    silo_of: Mapping[str, str] = field(default_factory=dict)

    def galleries(self, setting: Setting) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """(probes, gallery) for each split of a setting: one for F/F, one for each rare split otherwise."""
        match setting:
            case Setting.FF:
                return [(self.frequent_test, self.frequent_gallery)]
            case Setting.RR:
                return [(split.test, split.gallery) for split in self.rare]
            case Setting.F_BOTH:
                return [(self.frequent_test, self.frequent_gallery + split.gallery) for split in self.rare]
            case Setting.R_BOTH:
                return [(split.test, self.frequent_gallery + split.gallery) for split in self.rare]

    def restricted_to(self, photo_ids: Iterable[str]) -> Protocol:
        """The protocol over these photos only, as after an import that refused some."""
        wanted = set(photo_ids)

        def kept(photos: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(photo for photo in photos if photo in wanted)

        def among(mapping: Mapping[str, str]) -> dict[str, str]:
            return {photo: value for photo, value in mapping.items() if photo in wanted}

        return Protocol(
            train=kept(self.train),
            val=kept(self.val),
            frequent_gallery=kept(self.frequent_gallery),
            frequent_test=kept(self.frequent_test),
            rare=tuple(RareSplit(test=kept(split.test), gallery=kept(split.gallery)) for split in self.rare),
            label_of=among(self.label_of),
            patient_of=among(self.patient_of),
            silo_of=among(self.silo_of),
        )
