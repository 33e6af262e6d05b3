"""A stored cohort and newly read patients -> the cohort to store. Pure: nothing is read, decoded or written.

Patients are told by their id, photos by the hash of their file. A source is complete for the patients that it
names, and says nothing of the others. Bad input loses nothing: a photo that is unreadable today stays as it was
stored, and photos go only where no row of the source was refused.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from common.cohort.reading import ReadResult, Refused, refusal
from common.cohort.schema import Cohort, Consent, Patient, Photo, Purpose, Syndrome

OnSite = Callable[[str, Consent], Consent]
"""(patient, what a source says) to what may be stored: decisions taken on site go before a source."""


@dataclass
class Changes:
    """What became of the patients that a source names, by id; ``moved``: those updated to another diagnosis.

    ``removed``: stored before, and permitting nothing any more; ``kept_out``: not taken, since they withdrew here;
    ``photos_kept``: not listed any more, and kept since rows were refused.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept_out: list[str] = field(default_factory=list)
    photos_added: int = 0
    photos_removed: int = 0
    photos_kept: int = 0
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True)
class Merged:
    """``cohort``: to store; the crop of each photo is the new one where there is one, else the one held before.

    ``held_crops``: photos that keep their crop. ``changed``: whether the cohort differs from before.
    """

    cohort: Cohort
    held_crops: frozenset[str]
    changes: Changes
    changed: bool


def to_crop(held: Cohort | None, brought: Cohort) -> Cohort:
    """The brought photos of which no crop is held, with their patients."""
    known = _Held(held)
    patients = [
        patient.model_copy(update={"photos": tuple(p for p in patient.photos if not known.alike(p))})
        for patient in brought.patients
    ]
    return brought.model_copy(update={"patients": tuple(patient for patient in patients if patient.photos)})


def merge(
    held: Cohort | None,
    read: ReadResult,
    cropped: Collection[str],
    *,
    on: datetime.date,
    on_site: OnSite = lambda patient, consent: consent,
    only: Purpose | None = None,
) -> Merged:
    """Take the patients of a source into the held cohort.

    Args:
        cropped: photo ids of ``to_crop`` that gave a crop.
        on: the day on which consents are judged.
        only: new patients must permit this purpose; by default any.
    """
    return _Merging(held, read, cropped, on, on_site, only).merged()


class _Held:
    """Held photos by what makes their crop."""

    def __init__(self, cohort: Cohort | None) -> None:
        self.patients = {} if cohort is None else {patient.id: patient for patient in cohort.patients}
        self._by_content: dict[tuple[object, ...], list[Photo]] = defaultdict(list)
        self.photos: dict[str, Photo] = {}
        self.owners: dict[str, set[str]] = defaultdict(set)
        for patient in self.patients.values():
            for photo in patient.photos:
                self._by_content[_content(photo)].append(photo)
                self.photos[photo.id] = photo
                self.owners[photo.id].add(patient.id)
                self.owners[photo.sha256].add(patient.id)

    def alike(self, photo: Photo, own: Iterable[Photo] = ()) -> Photo | None:
        """A held photo of the same file and landmarks: of the same id if there is one, else among ``own``."""
        found = self._by_content.get(_content(photo), [])
        mine = {held.id for held in own}
        return min(found, key=lambda held: (held.id != photo.id, held.id not in mine, held.id), default=None)


class _Merging:
    def __init__(
        self,
        held: Cohort | None,
        read: ReadResult,
        cropped: Collection[str],
        on: datetime.date,
        on_site: OnSite,
        only: Purpose | None,
    ) -> None:
        self._held, self._cohort, self._read = _Held(held), held, read
        self._cropped, self._on, self._on_site, self._only = cropped, on, on_site, only
        self._named = {patient.id for patient in read.cohort.patients}
        self._changes = Changes()
        self._taken = {
            photo.id
            for patient in self._held.patients.values()
            for photo in patient.photos
            if patient.id not in self._named
        }
        self._listed = {photo.sha256 for _, photo in read.cohort.photos()}

    def merged(self) -> Merged:
        result = dict(self._held.patients)
        for patient in self._read.cohort.patients:
            new = self._one(patient)
            if new is None:
                result.pop(patient.id, None)
            else:
                result[new.id] = new
        syndromes = self._syndromes(result.values())
        name = self._read.cohort.name if self._cohort is None else self._cohort.name
        cohort = Cohort(name=name, patients=tuple(result.values()), syndromes=syndromes)
        changes = self._changes
        changed = bool(changes.added or changes.updated or changes.removed) or (
            self._cohort is not None and syndromes != self._cohort.syndromes
        )
        held_crops = frozenset(p.id for _, p in cohort.photos() if self._held.photos.get(p.id) == p)
        return Merged(cohort, held_crops, changes, changed)

    def _one(self, brought: Patient) -> Patient | None:
        """The patient as stored from now on; None for one who may not be, or has no photo."""
        old, changes = self._held.patients.get(brought.id), self._changes
        stated = brought.consent
        if old is not None and brought.id in self._read.silent and not stated.purposes:
            stated = old.consent
        consent = self._on_site(brought.id, stated)
        permitted = self._permits(consent, None if old else self._only)
        if not permitted and self._permits(stated, None if old else self._only):
            changes.kept_out.append(brought.id)
        photos = self._photos(brought, old) if permitted else ()
        if photos:
            new = brought.model_copy(update={"photos": photos, "consent": consent})
            self._account(old, new)
            return new
        if old is not None:
            changes.removed.append(brought.id)
            changes.photos_removed += len(old.photos)
        elif not permitted:
            self._refuse(brought)
        return None

    def _photos(self, brought: Patient, old: Patient | None) -> tuple[Photo, ...]:
        """The patient's photos: those held that stay, in their order, then the new ones."""
        before = {} if old is None else {photo.id: photo for photo in old.photos}
        chosen: dict[str, Photo] = {}
        for photo in brought.photos:
            held = self._held.alike(photo, before.values())
            owners = self._held.owners[photo.id] | self._held.owners[photo.sha256]
            free = {photo.id, held.id if held else photo.id} - chosen.keys() - self._taken
            if owners - {brought.id} - self._named:
                self._changes.refused.append(refusal(photo, f"photo {photo.id} is stored for another patient"))
            elif held is not None and held.id in free:
                chosen[held.id] = held
            elif photo.id in free and photo.id in self._cropped:
                chosen[photo.id] = photo
            elif photo.id in free and photo.id in before:
                chosen[photo.id] = before[photo.id]  # its new file cannot be used
        gone = [
            photo
            for photo in before.values()
            if photo.id not in {*chosen, *self._taken} and photo.sha256 not in self._listed
        ]
        if self._read.refused or not chosen:
            chosen |= {photo.id: photo for photo in gone}
            self._changes.photos_kept += len(gone)
        self._taken |= chosen.keys()
        place = {name: number for number, name in enumerate(before)}
        return tuple(sorted(chosen.values(), key=lambda photo: place.get(photo.id, len(place))))

    def _account(self, old: Patient | None, new: Patient) -> None:
        changes = self._changes
        before = set() if old is None else {(photo.id, photo.sha256) for photo in old.photos}
        after = {(photo.id, photo.sha256) for photo in new.photos}
        changes.photos_added += len(after - before)
        changes.photos_removed += len(before - after)
        if old is None:
            changes.added.append(new.id)
        elif old == new:
            changes.unchanged.append(new.id)
        else:
            changes.updated.append(new.id)
            if old.syndrome != new.syndrome:
                changes.moved.append(new.id)

    def _refuse(self, patient: Patient) -> None:
        what = f"consent does not cover {self._only or 'any purpose'} on {self._on}"
        if patient.id in self._changes.kept_out:
            what = "the patient withdrew here"
        self._changes.refused += [refusal(photo, f"photo {photo.id}: {what}") for photo in patient.photos]

    def _permits(self, consent: Consent, only: Purpose | None) -> bool:
        return any(consent.allows(p, self._on) for p in (Purpose if only is None else (only,)))

    def _syndromes(self, patients: Iterable[Patient]) -> tuple[Syndrome, ...]:
        """Those that label somebody: as the newest source that says more than the key has them."""
        used = {patient.syndrome for patient in patients}
        found = {} if self._cohort is None else {syndrome.key: syndrome for syndrome in self._cohort.syndromes}
        for syndrome in self._read.cohort.syndromes:
            old = found.get(syndrome.key, syndrome)
            found[syndrome.key] = Syndrome(
                key=syndrome.key,
                name=old.name if syndrome.name == syndrome.key else syndrome.name,
                identifiers=syndrome.identifiers or old.identifiers,
            )
        return tuple(found[key] for key in sorted(found) if key in used)


def _content(photo: Photo) -> tuple[object, ...]:
    return photo.sha256, photo.landmarks, photo.box, photo.aligned
