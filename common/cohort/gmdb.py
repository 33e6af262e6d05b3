"""Reader for cohorts in the layout of the GestaltMatcher Database (Lesmann et al. 2024).

    result = read(Path("gmdb/v1.1.0"), partition="uniform", silos=4, consent=Consent(purposes={...}))

Photos come from ``gmdb_align`` or ``gmdb_crops`` where they are aligned already, else from ``gmdb_images`` with
the landmarks of ``gmdb_rot/face_coords.csv``, else a detector must find the face. Columns are found by name; of
the metadata only what a patient record holds is read, so names and addresses never come in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from common import ontology
from common.cohort import attributes, gmdb_files, gmdb_protocol, gmdb_silos
from common.cohort.reading import ReadResult, Refused
from common.cohort.schema import Cohort, Consent, Patient, Photo, Syndrome
from common.cohort.tables import Row, read_rows
from common.errors import CohortError, PhotoError

_METADATA_COLUMNS = (
    "internal_syndrome_id",
    "internal_syndrome_name",
    "age_year",
    "age_month",
    "gender",
    "ethnicity_category",
    "present_features",
    "absent_features",
    "pmid",
    "consent",
    "purposes",
    "consent_expires",
)


def read(
    root: Path,
    *,
    version: str | None = None,
    partition: str | None = None,
    silos: int = 4,
    consent: Consent,
) -> ReadResult:
    """The cohort below ``root`` with its protocol; nothing is decoded.

    ``version``: told by the file names where None. ``partition``: 'uniform', 'disjoint', 'site' or a literal
    prefix of federated split files for ``silos`` silos; None reads no silos. ``consent`` holds for rows whose
    metadata say nothing of it.

    Raises:
        CohortError: no such layout, several versions, a table without a column, or no split files of that
            partition.
    """
    tables, version = gmdb_files.find_tables(root, version)
    files, refused = gmdb_files.find_photos(root)
    listing = _Listing(files, refused=refused)
    roles: dict[str, list[tuple[str, Row]]] = {}
    for role in gmdb_files.ROLES:
        if role in tables:
            roles[role] = listing.read(root, tables[role], with_split=role.startswith("rare"))
    metadata = _metadata(root, version, consent, listing.refused)
    placed, problems, notes = gmdb_silos.read_silos(root, version=version, partition=partition, silos=silos)
    listing.refused += problems
    silo_of = listing.place(placed)
    if partition is None:
        silo_of = {}
    label_of = {photo: listing.label_of[listing.patient_of[photo]] for photo in listing.photos}
    protocol, problems = gmdb_protocol.build(roles, label_of, listing.patient_of, silo_of)
    listing.refused += problems
    patients = _patients(listing, metadata, notes)
    syndromes = _syndromes(root, version, listing, metadata)
    cohort = Cohort(name=f"gmdb-{version}", patients=patients, syndromes=syndromes)
    if not patients:
        first = f"; first: {listing.refused[0]}" if listing.refused else ""
        raise CohortError(f"{root} has no usable photo{first}", remedy="mend the refused rows")
    return ReadResult(
        cohort=cohort,
        protocol=protocol,
        refused=listing.refused,
        notes=notes,
        silent=frozenset(patient.id for patient in patients)
        - {listing.patient_of[photo] for photo in listing.photos if metadata.attributes[photo].says_consent},
    )


@dataclass
class _Listing:
    """Photos, patients and labels as the split files list them, each checked against the first mention."""

    files: gmdb_files.PhotoFiles
    refused: list[Refused]
    photos: dict[str, Photo] = field(default_factory=dict)
    patient_of: dict[str, str] = field(default_factory=dict)
    label_of: dict[str, str] = field(default_factory=dict)  # patient -> label
    unusable: dict[str, str] = field(default_factory=dict)

    def read(self, root: Path, path: Path, *, with_split: bool) -> list[tuple[str, Row]]:
        """(photo id, row) of a split file's good rows."""
        name = path.relative_to(root).as_posix()
        required = ("image_id", "subject", "label", *(("split",) if with_split else ()))
        rows, problems = read_rows(path, name=name, required=required)
        self.refused += problems
        good = []
        for row in rows:
            photo = gmdb_files.photo_id(row["image_id"])
            reason = self._problem(photo, row)
            if reason is None:
                good.append((photo, row))
            else:
                self.refused.append(row.refuse(reason))
        return good

    def place(self, placed: list[gmdb_silos.Placed]) -> dict[str, str]:
        """Photo id -> silo; photos that only these rows list come in as well."""
        silo_of: dict[str, str] = {}
        for entry in placed:
            photo = gmdb_files.photo_id(entry.row["image_id"])
            reason = None
            if photo not in self.photos:
                reason = self._problem(photo, entry.row)
            if reason is None and silo_of.setdefault(photo, entry.silo) != entry.silo:
                reason = f"photo {photo} lies at {silo_of[photo]} already"
            if reason is not None:
                self.refused.append(entry.row.refuse(reason))
        return silo_of

    def _problem(self, photo: str, row: Row) -> str | None:
        patient, label = _plain(row["subject"]), _plain(row["label"])
        if not photo or not patient or not label:
            return "has no image_id, subject or label"
        if any(len(text) > 64 for text in (photo, patient, label)):
            return "has an image_id, subject or label longer than 64 letters"
        if photo in self.unusable:
            return self.unusable[photo]
        if self.patient_of.get(photo, patient) != patient:
            return f"photo {photo} belongs to another patient already"
        if self.label_of.get(patient, label) != label:
            return f"the patient of photo {photo} has another label already"
        if photo not in self.photos:
            try:
                record = self.files.photo(photo, source=f"{row.file}:{row.line}")
            except PhotoError as error:
                self.unusable[photo] = error.what
                return error.what
            self.photos[photo] = record
            self.patient_of[photo] = patient
            self.label_of[patient] = label
        return None


@dataclass(frozen=True)
class _Metadata:
    attributes: dict[str, attributes.Attributes]
    syndrome_names: dict[str, str]


def _metadata(root: Path, version: str, consent: Consent, refused: list[Refused]) -> _Metadata:
    """What the metadata table says of each photo; without the table, only the consent given."""
    path = root / gmdb_files.METADATA / f"image_metadata_{version}.tsv"
    found: dict[str, attributes.Attributes] = {}
    names: dict[str, str] = {}
    if path.is_file():
        name = path.relative_to(root).as_posix()
        rows, problems = read_rows(path, name=name, required=("image_id",), optional=_METADATA_COLUMNS)
        refused += problems
        for row in rows:
            photo = gmdb_files.photo_id(row["image_id"])
            if photo in found:
                refused.append(row.refuse(f"photo {photo} has metadata already"))
                continue
            present, absent, unknown = attributes.parse_terms(row["present_features"], row["absent_features"])
            agreement, understood = attributes.parse_consent(
                consent, agreed=row["consent"], purposes=row["purposes"], expires=row["consent_expires"]
            )
            found[photo] = attributes.Attributes(
                hpo_present=present,
                hpo_absent=absent,
                unknown_terms=unknown,
                age_years=attributes.parse_age(row["age_year"], row["age_month"]),
                sex=attributes.parse_sex(row["gender"]),
                ancestry=row["ethnicity_category"][:64] or None,
                pmid=attributes.parse_pmid(row["pmid"]),
                consent=agreement,
                unread_consents=not understood,
                says_consent=bool(row["consent"] or row["purposes"] or row["consent_expires"]),
            )
            if row["internal_syndrome_name"]:
                names.setdefault(_plain(row["internal_syndrome_id"]), row["internal_syndrome_name"])
    # A photo that the table leaves out has said nothing against the consent given for all.
    silent = attributes.Attributes(consent=consent)
    return _Metadata(attributes=_Default(found, silent), syndrome_names=names)


class _Default(dict[str, attributes.Attributes]):
    def __init__(self, found: dict[str, attributes.Attributes], default: attributes.Attributes) -> None:
        super().__init__(found)
        self._default = default

    def __missing__(self, key: str) -> attributes.Attributes:
        return self._default


def _patients(listing: _Listing, metadata: _Metadata, notes: list[str]) -> tuple[Patient, ...]:
    photos_of: dict[str, list[Photo]] = {}
    for photo_id, photo in listing.photos.items():
        photos_of.setdefault(listing.patient_of[photo_id], []).append(photo)
    patients = []
    merged = []
    for patient, photos in sorted(photos_of.items(), key=lambda item: _natural(item[0])):
        facts = attributes.merge([metadata.attributes[photo.id] for photo in photos])
        merged.append(facts)
        ordered = tuple(sorted(photos, key=lambda photo: _natural(photo.id)))
        patients.append(attributes.patient(patient, ordered, listing.label_of[patient], facts))
    notes += attributes.notes(merged)
    return tuple(patients)


def _syndromes(root: Path, version: str, listing: _Listing, metadata: _Metadata) -> tuple[Syndrome, ...]:
    """Every syndrome that labels a patient, with what the syndrome table knows of it."""
    path = root / gmdb_files.METADATA / f"gmdb_syndromes_{version}.tsv"
    names = dict(metadata.syndrome_names)
    identifiers: dict[str, tuple[str, ...]] = {}
    if path.is_file():
        name = path.relative_to(root).as_posix()
        optional = ("syndrome_name", "omim")
        rows, problems = read_rows(path, name=name, required=("syndrome_id",), optional=optional)
        listing.refused += problems
        for row in rows:
            key = _plain(row["syndrome_id"])
            names[key] = row["syndrome_name"] or names.get(key, key)
            identifiers[key] = ontology.disorder_identifiers(row["omim"])
    keys = sorted(set(listing.label_of.values()), key=_natural)
    return tuple(Syndrome(key=key, name=names.get(key, key), identifiers=identifiers.get(key, ())) for key in keys)


def _plain(cell: str) -> str:
    """Ids as text; whole numbers that went through a float column lose their '.0'."""
    return cell.removesuffix(".0") if cell.removesuffix(".0").isdigit() else cell


def _natural(text: str) -> tuple[int, str]:
    """Numbers in numeric order, then everything else by its text."""
    return (int(text), text) if text.isascii() and text.isdigit() else (1 << 62, text)
