"""Reader for a folder of photos with one CSV file beside them.

    photo,patient,syndrome,syndrome_name,hpo_present,age_years,sex,purposes,consent_expires,alone
    a/1.jpg,P-17,OMIM:122470,Cornelia de Lange syndrome,HP:0000574;HP:0000664,4.5,female,train;match,2031-01-31,no

Required are photo (a path below the folder), patient (a pseudonym) and syndrome (empty while unsolved; an OMIM,
ORPHA or MONDO identifier, or any short label). The others are optional, among them identifiers, hpo_absent,
ancestry, pmid, consent (yes or no), alone (yes where the patient agreed to be a gallery row of its own, see
common.cohort.schema.Consent), and the landmarks kp1_x .. kp5_y in pixels of the upright photo. Unknown columns are
ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from common import ontology
from common.cohort import attributes
from common.cohort.reading import ReadResult, require_patients
from common.cohort.schema import Cohort, Consent, Patient, Photo, Syndrome
from common.cohort.tables import Row, read_rows
from common.errors import CohortError, PhotoError
from common.faces.decode import read_bytes
from common.storage import sha256_bytes

REQUIRED = ("photo", "patient", "syndrome")
LANDMARKS = tuple(f"kp{i}_{axis}" for i in range(1, 6) for axis in "xy")
OPTIONAL = (
    "syndrome_name",
    "identifiers",
    "hpo_present",
    "hpo_absent",
    "age_years",
    "sex",
    "ancestry",
    "pmid",
    "consent",
    "purposes",
    "consent_expires",
    "alone",
    *LANDMARKS,
)

# A pseudonym is one short token: a name with its space, or an e-mail address, does not pass for one.
_PSEUDONYM = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


def read(path: Path, *, consent: Consent) -> ReadResult:
    """The cohort of a CSV file, or of a folder that holds exactly one; nothing is decoded.

    A photo's id is the beginning of its content's hash, since file names may name people. ``consent`` holds for
    rows that say nothing of it.

    Raises:
        CohortError: no or several CSV files, a missing column, or no usable row.
    """
    table = find_table(path)
    root = table.parent.resolve()
    rows, refused = read_rows(table, name=table.name, required=REQUIRED, optional=OPTIONAL)
    draft = _Draft()
    for row in rows:
        reason = draft.add(root, row, consent)
        if reason is not None:
            refused.append(row.refuse(reason))
    if not draft.photos:
        first = f"; first: {refused[0]}" if refused else ""
        raise CohortError(f"{table} has no usable row{first}", remedy="mend the refused rows")
    cohort = Cohort(name=root.name or "folder", patients=draft.patients(), syndromes=draft.disorders())
    require_patients(cohort)
    notes = attributes.notes(facts for rows in draft.facts_of.values() for facts in rows)
    silent = {patient for patient, rows in draft.facts_of.items() if not any(facts.says_consent for facts in rows)}
    return ReadResult(cohort=cohort, protocol=None, refused=refused, notes=notes, silent=frozenset(silent))


def find_table(path: Path) -> Path:
    """The CSV file itself, or the only one in a folder; ``cohort.csv`` goes before others."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise CohortError(f"{path} does not exist", remedy="check the path")
    tables = sorted(p for p in path.iterdir() if p.suffix.lower() == ".csv")
    preferred = [p for p in tables if p.name.lower() == "cohort.csv"]
    if len(preferred or tables) == 1:
        return (preferred or tables)[0]
    if not tables:
        raise CohortError(f"{path} holds no CSV file", remedy=f"add cohort.csv with {', '.join(REQUIRED)}")
    raise CohortError(f"{path} holds several CSV files", remedy="name the file itself, or call it cohort.csv")


def photo_file(root: Path, relative: str) -> tuple[Path, str]:
    """(path, SHA-256) of a photo named relative to a resolved ``root``.

    Raises:
        PhotoError: the name leads outside ``root``, or the file cannot be read; the name is not repeated.
    """
    try:
        path = (root / relative).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise PhotoError("the photo has no usable file name") from error
    if not path.is_relative_to(root):
        raise PhotoError("the photo lies outside the cohort's folder")
    return path, sha256_bytes(read_bytes(path, name="the photo"))


@dataclass
class _Draft:
    """Rows on their way to patients."""

    photos: dict[str, Photo] = field(default_factory=dict)
    facts_of: dict[str, list[attributes.Attributes]] = field(default_factory=dict)
    photos_of: dict[str, list[Photo]] = field(default_factory=dict)
    syndrome_of: dict[str, str | None] = field(default_factory=dict)
    syndromes: dict[str, Syndrome] = field(default_factory=dict)

    def add(self, root: Path, row: Row, consent: Consent) -> str | None:
        """Take a row in, or say why not."""
        patient = row["patient"]
        if not _PSEUDONYM.match(patient):
            return "patient is no pseudonym such as P-0012"
        if not row["photo"]:
            return "names no photo"
        try:
            syndrome = _syndrome(row)
        except ValidationError:
            return "syndrome is no identifier such as OMIM:122470 and no short label"
        key = syndrome.key if syndrome else None
        if self.syndrome_of.get(patient, key) != key:
            return f"patient {patient} has another syndrome already"
        landmarks = _landmarks(row)
        if landmarks is False:
            return "has landmarks that are no five points"
        try:
            path, digest = photo_file(root, row["photo"])
        except PhotoError as error:
            return error.what
        photo_id = digest[:16]
        if photo_id in self.photos:
            return f"its photo is that of line {self.photos[photo_id].source.rpartition(':')[2]} already"
        source = f"{row.file}:{row.line}"
        photo = Photo.model_validate(
            {"id": photo_id, "path": path, "sha256": digest, "source": source, "landmarks": landmarks}
        )
        self.photos[photo_id] = photo
        self.photos_of.setdefault(patient, []).append(photo)
        self.syndrome_of[patient] = key
        self.facts_of.setdefault(patient, []).append(_facts(row, consent))
        if syndrome:
            self.syndromes.setdefault(syndrome.key, syndrome)
        return None

    def patients(self) -> tuple[Patient, ...]:
        """One record a patient, in the order of first mention."""
        return tuple(
            attributes.patient(
                patient, tuple(photos), self.syndrome_of[patient], attributes.merge(self.facts_of[patient])
            )
            for patient, photos in self.photos_of.items()
        )

    def disorders(self) -> tuple[Syndrome, ...]:
        """Every syndrome that labels a patient, by key."""
        return tuple(self.syndromes[key] for key in sorted(self.syndromes))


def _facts(row: Row, consent: Consent) -> attributes.Attributes:
    present, absent, unknown = attributes.parse_terms(row["hpo_present"], row["hpo_absent"])
    agreement, understood = attributes.parse_consent(
        consent,
        agreed=row["consent"],
        purposes=row["purposes"],
        expires=row["consent_expires"],
        alone=row["alone"],
    )
    return attributes.Attributes(
        hpo_present=present,
        hpo_absent=absent,
        unknown_terms=unknown,
        age_years=attributes.parse_age(row["age_years"]),
        sex=attributes.parse_sex(row["sex"]),
        ancestry=row["ancestry"][:64] or None,
        pmid=attributes.parse_pmid(row["pmid"]),
        consent=agreement,
        unread_consents=not understood,
        says_consent=any(row[column] for column in ("consent", "purposes", "consent_expires", "alone")),
    )


def _syndrome(row: Row) -> Syndrome | None:
    text = row["syndrome"]
    if not text:
        return None
    # A bare number is a label here: only with its prefix is it known to be OMIM's.
    own = ontology.disorder_identifiers(text) if ":" in text else ()
    others = ontology.disorder_identifiers(row["identifiers"])
    return Syndrome(
        key=own[0] if own else text,
        name=row["syndrome_name"] or text,
        identifiers=tuple(dict.fromkeys((*own, *others))),
    )


def _landmarks(row: Row) -> list[tuple[float, float]] | bool | None:
    """Five points, None where the row has none, False where it has something else."""
    cells = [row[column] for column in LANDMARKS]
    if not any(cells):
        return None
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return False
    if not all(abs(value) < 1e6 for value in values):
        return False
    return list(zip(values[::2], values[1::2], strict=True))
