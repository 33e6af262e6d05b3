"""Reader for GA4GH phenopackets, version 2 in JSON (Jacobsen et al. 2022), with photo paths in ``files``.

One packet a file, below one folder. The diagnosis is the disease of an interpretation, else the only disease
that is not excluded. Only the fields named here are read: alternate ids, dates of birth, authors and file
identifiers stay behind, and the subject's id is replaced by a keyed hash.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlparse

from pydantic import ValidationError

from common import ontology
from common.cohort import attributes
from common.cohort.folder import photo_file
from common.cohort.phenopacket_messages import Packet, TimeElement
from common.cohort.reading import ReadResult, Refused, printable
from common.cohort.schema import Cohort, Consent, Patient, Photo, Syndrome
from common.errors import CohortError, PhotoError
from common.faces.decode import EXTENSIONS

MAX_BYTES = 16 << 20

_DURATION = re.compile(r"^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T.*)?$")


def read(path: Path, *, consent: Consent, pseudonym_key: bytes = b"phenofed") -> ReadResult:
    """The cohort of every ``*.json`` packet below a folder, or of one packet; nothing is decoded.

    Patient ids are HMAC-SHA256 of (packet id, subject id) under ``pseudonym_key``: the same packet keeps its
    pseudonym over imports. Give a secret key where subject ids could be guessed, such as hospital numbers.

    Raises:
        CohortError: no packet, or none usable.
    """
    if not path.exists():
        raise CohortError(f"{path} does not exist", remedy="check the path")
    root = (path if path.is_dir() else path.parent).resolve()
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files:
        raise CohortError(f"{path} holds no phenopacket", remedy="add packets as .json files")
    refused: list[Refused] = []
    patients: dict[str, Patient] = {}
    syndromes: dict[str, Syndrome] = {}
    seen: set[str] = set()
    merged = []
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        try:
            packet = _parse(file)
            syndrome = _diagnosis(packet)
            patient_id = _pseudonym(packet, pseudonym_key)
            if patient_id in patients:
                raise _Unusable("repeats the id and subject of another packet")
            photos, problems = _photos(packet, file.parent.resolve(), root, name, seen)
            refused += [Refused(name, 0, problem) for problem in problems]
            if not photos:
                raise _Unusable("has no usable photo")
        except _Unusable as error:
            refused.append(Refused(name, 0, str(error)))
            continue
        facts = _facts(packet, consent)
        merged.append(facts)
        patients[patient_id] = attributes.patient(patient_id, photos, syndrome.key if syndrome else None, facts)
        seen.update(photo.id for photo in photos)
        if syndrome is not None:
            syndromes.setdefault(syndrome.key, syndrome)
    if not patients:
        raise CohortError(f"{path} has no usable packet; first: {refused[0]}", remedy="mend the refused packets")
    ordered = tuple(syndromes[key] for key in sorted(syndromes))
    cohort = Cohort(name=root.name or "phenopackets", patients=tuple(patients.values()), syndromes=ordered)
    return ReadResult(
        cohort=cohort,
        protocol=None,
        refused=refused,
        notes=attributes.notes(merged),
        silent=frozenset(patients),  # the standard has no field for consent
    )


class _Unusable(Exception):
    """Why a packet does not come in."""


def _parse(file: Path) -> Packet:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise _Unusable(f"has more than {MAX_BYTES >> 20} MiB")
        content = json.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise _Unusable(f"cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise _Unusable("is not valid JSON") from error
    if not isinstance(content, dict) or "subject" not in content:
        raise _Unusable("is no phenopacket: it has no 'subject'")
    try:
        return Packet.model_validate(content)
    except ValidationError as error:
        # The place alone: the value may be what must not be repeated.
        places = sorted({".".join(str(part) for part in problem["loc"]) for problem in error.errors()})
        raise _Unusable(f"is no phenopacket of version 2: see {', '.join(places[:5])}") from error


def _diagnosis(packet: Packet) -> Syndrome | None:
    """The one disease of the packet, or None while unsolved."""
    terms = [i.diagnosis.disease for i in packet.interpretations if i.diagnosis and i.diagnosis.disease]
    if not terms:
        terms = [disease.term for disease in packet.diseases if not disease.excluded]
    found: dict[str, str] = {}
    for term in terms:
        identifiers = ontology.disorder_identifiers(term.id) if ":" in term.id else ()
        if not identifiers:
            raise _Unusable("names a disease without an OMIM, ORPHA or MONDO identifier")
        found.setdefault(identifiers[0], printable(term.label))
    if len(found) > 1:
        raise _Unusable(f"names {len(found)} diseases: {', '.join(found)}")
    return next((Syndrome(key=key, name=label or key, identifiers=(key,)) for key, label in found.items()), None)


def _pseudonym(packet: Packet, key: bytes) -> str:
    if not packet.subject.id and not packet.id:
        raise _Unusable("has neither an id nor a subject id")
    text = json.dumps([packet.id, packet.subject.id]).encode()
    return f"pp-{hmac.new(key, text, hashlib.sha256).hexdigest()[:16]}"


def _photos(
    packet: Packet, folder: Path, root: Path, name: str, seen: set[str]
) -> tuple[tuple[Photo, ...], list[str]]:
    """(photos, what is wrong with the others); files that are no images are passed over."""
    photos: dict[str, Photo] = {}
    problems = []
    for number, relative in enumerate(_image_paths(packet), start=1):
        try:
            path, digest = photo_file(root, str(folder / relative))
        except PhotoError as error:
            problems.append(f"photo {number}: {error.what}")
            continue
        photo = digest[:16]
        if photo in photos:
            continue
        if photo in seen:
            problems.append(f"photo {number} is that of another packet already")
            continue
        photos[photo] = Photo(id=photo, path=path, sha256=digest, source=name)
    return tuple(photos.values()), problems


def _image_paths(packet: Packet) -> Iterator[str]:
    for file in packet.files:
        parts = urlparse(file.uri)
        path = unquote(parts.path)
        kind = str(file.file_attributes.get("mediaType") or file.file_attributes.get("fileFormat") or "")
        is_image = kind.lower().startswith("image/") or Path(path).suffix.lower() in EXTENSIONS
        if path and is_image and parts.scheme in ("", "file"):
            yield path


def _facts(packet: Packet, consent: Consent) -> attributes.Attributes:
    def terms(excluded: bool) -> str:
        return ";".join(f.type.id for f in packet.phenotypic_features if f.excluded is excluded)

    present, absent, unknown = attributes.parse_terms(terms(False), terms(True))
    pmids = {attributes.parse_pmid(reference.id) for reference in packet.meta_data.external_references} - {None}
    own = attributes.Attributes(
        hpo_present=present,
        hpo_absent=absent,
        unknown_terms=unknown,
        age_years=_years(packet.subject.time_at_last_encounter),
        sex=_sex(packet.subject.sex),
        pmid=pmids.pop() if len(pmids) == 1 else None,
        consent=consent,
    )
    return attributes.merge([own])


def _sex(value: str | int) -> Literal["female", "male"] | None:
    """Protobuf's JSON writes enumerations by name or by number."""
    return attributes.parse_sex({1: "female", 2: "male"}.get(value, "") if isinstance(value, int) else value)


def _years(time: TimeElement | None) -> float | None:
    """ISO 8601 duration -> years; the beginning of a range."""
    age = time and (time.age or (time.age_range and time.age_range.start))
    match = _DURATION.match(age.iso8601duration) if age else None
    if not match or not any(match.groups()):
        return None
    years, months, weeks, days = (int(group or 0) for group in match.groups())
    total = years + months / 12 + (7 * weeks + days) / 365.25
    return total if total <= 120 else None
