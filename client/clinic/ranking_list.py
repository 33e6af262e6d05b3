"""What a clinician reads: the ranked list of one patient, its cautions first, as a table, JSON or TSV."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from common.cohort.reading import printable

SCHEMA = 1
CAUTIONS = (
    "Research use only; not a medical device.",
    "Any face yields a list, an unaffected one too; the true disorder may be absent from it.",
)
NOT_CALIBRATED = "Similarities are not calibrated: they order syndromes, and are no probabilities."
TSV_COLUMNS = ("disease_identifier", "score", "grouping_id")
DECIMALS = 4


@dataclass(frozen=True)
class Listed:
    """One syndrome of the list.

    Attributes:
        similarity: the score; comparable within one list only.
        identifiers: disease CURIEs; genes: symbols or CURIEs where the registry knows them.
        group: what the registry groups the syndrome under, such as a phenotypic series; '' for none.
        support: how many patients stand behind it, as a band such as '6-10'; '' where disclosure forbids it.
    """

    rank: int
    similarity: float
    key: str
    name: str
    identifiers: tuple[str, ...]
    genes: tuple[str, ...] = ()
    group: str = ""
    support: str = ""


@dataclass(frozen=True)
class RankingList:
    """One patient's list and what must be known to read it.

    Attributes:
        patient: the hospital's own reference; it never left the hospital.
        missing: silos whose panel gave no answer, so that their patients are not in the scores.
        silent: which of them kept silent, and why; one is enough for its whole panel to give nothing.
        quality: remarks on the photos, one tuple a photo.
        answerable: syndromes that were scored; withheld: registry entries that were not.
        not_asked: members that have no part in the gallery epoch, and why, such as another registry.
    """

    patient: str
    release: str
    gallery_epoch: str
    kernel: str
    profile: str
    silos: tuple[str, ...]
    missing: tuple[str, ...]
    silent: dict[str, str]
    quality: tuple[tuple[str, ...], ...]
    answerable: int
    withheld: int
    rows: tuple[Listed, ...] = field(repr=False)
    not_asked: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON types; ``schema`` changes when a reader must."""
        return {
            "schema": SCHEMA,
            "cautions": [*CAUTIONS, NOT_CALIBRATED],
            "calibrated": False,
            "patient": self.patient,
            "release": self.release,
            "gallery_epoch": self.gallery_epoch,
            "kernel": self.kernel,
            "profile": self.profile,
            "silos": list(self.silos),
            "missing_silos": list(self.missing),
            "silent_silos": dict(self.silent),
            "not_asked": dict(self.not_asked),
            "photos": [{"remarks": list(remarks)} for remarks in self.quality],
            "answerable": self.answerable,
            "withheld": self.withheld,
            "syndromes": [
                {
                    "rank": row.rank,
                    "similarity": row.similarity,
                    "key": row.key,
                    "name": row.name,
                    "identifiers": list(row.identifiers),
                    "genes": list(row.genes),
                    "group": row.group,
                    "support": row.support,
                }
                for row in self.rows
            ],
        }


def from_json(data: dict[str, Any]) -> RankingList:
    """The list that ``to_json`` described."""
    rows = tuple(
        Listed(
            rank=int(row["rank"]),
            similarity=float(row["similarity"]),
            key=row["key"],
            name=row["name"],
            identifiers=tuple(row["identifiers"]),
            genes=tuple(row["genes"]),
            group=row["group"],
            support=row["support"],
        )
        for row in data["syndromes"]
    )
    return RankingList(
        patient=data["patient"],
        release=data["release"],
        gallery_epoch=data["gallery_epoch"],
        kernel=data["kernel"],
        profile=data["profile"],
        silos=tuple(data["silos"]),
        missing=tuple(data["missing_silos"]),
        silent=dict(data["silent_silos"]),
        quality=tuple(tuple(photo["remarks"]) for photo in data["photos"]),
        answerable=data["answerable"],
        withheld=data["withheld"],
        rows=rows,
        not_asked=dict(data.get("not_asked", {})),
    )


def best(scores: NDArray[np.floating], top: int) -> list[int]:
    """Indices of the ``top`` highest scores, best first; NaN stands for a syndrome that nobody answered."""
    known = [int(index) for index in np.argsort(-scores, kind="stable") if not np.isnan(scores[index])]
    return known[:top]


def as_table(ranking: RankingList) -> Table:
    """A table under its cautions and above what it rests on."""
    remarks = [f"photo {number}: {'; '.join(of) or 'no remarks'}" for number, of in enumerate(ranking.quality, 1)]
    epoch = ranking.gallery_epoch.split("-")[0]
    asked, missing = ", ".join(ranking.silos) or "none", ", ".join(ranking.missing) or "none"
    head = [
        *CAUTIONS,
        NOT_CALIBRATED,
        "",
        f"Patient {ranking.patient}. Photo quality: {', '.join(remarks)}.",
        f"Release {ranking.release}, gallery epoch {epoch}, {ranking.kernel} kernel, profile {ranking.profile}.",
        f"Hospitals in the scores: {asked}. Missing: {missing}.",
        *(f"No answer from {name}: {why}" for name, why in ranking.silent.items()),
    ]
    head += [f"Not asked: {line}." for line in _not_asked(ranking)]
    if ranking.missing:
        head.append("Syndromes that are known mainly at the missing hospitals score too low here.")
    table = Table(
        title=Text("\n".join(head)),  # as Text: what stands in brackets is no markup
        title_justify="left",
        title_style="not italic",
        caption=_scored(ranking),
        caption_justify="left",
    )
    table.add_column("rank", justify="right")
    table.add_column("similarity", justify="right")
    table.add_column("syndrome")
    table.add_column("identifiers")
    table.add_column("genes")
    table.add_column("patients", justify="right")
    for row in ranking.rows:
        table.add_row(
            str(row.rank),
            f"{row.similarity:.{DECIMALS}f}",
            Text(row.name),
            Text(", ".join(row.identifiers)),
            Text(", ".join(row.genes)),
            row.support or "not shown",
        )
    return table


def _scored(ranking: RankingList) -> str:
    if not ranking.withheld:
        return f"all {ranking.answerable} syndromes of the registry were scored"
    return (
        f"{ranking.answerable} syndromes were scored; {ranking.withheld} of the registry were not: "
        "too few patients, or closed until the next gallery epoch"
    )


def as_tsv(ranking: RankingList) -> str:
    """``disease_identifier score grouping_id``, a row for each syndrome, for other rankers to combine.

    Hospitals that were not asked come first, in lines that begin with ``#``.
    """
    lines = [*(f"# not asked: {line}" for line in _not_asked(ranking)), "\t".join(TSV_COLUMNS)]
    for row in ranking.rows:
        identifier = row.identifiers[0] if row.identifiers else row.key
        lines.append(f"{identifier}\t{row.similarity:.6f}\t{row.group or row.key}")
    return "\n".join(lines) + "\n"


def _not_asked(ranking: RankingList) -> list[str]:
    """One line a hospital; what it says of itself is another's text."""
    return [printable(f"{name} {why}") for name, why in sorted(ranking.not_asked.items())]
