"""A cohort with its crops on disk: written whole or not at all, checked by hash when read.

The folder holds ``cohort.json``, ``crops.npy`` and ``manifest.json``, readable by its owner only: crops are
biometric data. Names of photo files and packets are not kept, since they may name people; the hash of each photo
stays as the link to it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from common.cohort.exchange import exchange
from common.cohort.reading import Refused
from common.cohort.schema import Cohort, Patient
from common.cohort.splits import Protocol
from common.errors import CohortError
from common.faces.align import SIZE
from common.faces.decode import Pixels
from common.storage import sha256_file, write_bytes, write_json
from common.versions import newer_file

SCHEMA = 1

_PROTOCOL: TypeAdapter[Protocol] = TypeAdapter(Protocol)
_REFUSED: TypeAdapter[list[Refused]] = TypeAdapter(list[Refused])
_FILES = ("cohort.json", "crops.npy")
_NPY_HEADER = 1024
_TABLE_ROW = re.compile(r":\d+$")


@dataclass(frozen=True)
class StoredCohort:
    """A cohort as stored. ``crops``: (n, 112, 112, 3) uint8 RGB in the order of ``photo_ids``."""

    cohort: Cohort
    protocol: Protocol | None
    crops: Pixels
    photo_ids: tuple[str, ...]
    refused: tuple[Refused, ...] = ()

    def crop(self, photo_id: str) -> Pixels:
        """The (112, 112, 3) crop of a photo; KeyError where it has none."""
        return self.crops[self._position[photo_id]]

    @cached_property
    def _position(self) -> dict[str, int]:
        return {photo: position for position, photo in enumerate(self.photo_ids)}


def save(
    folder: Path,
    cohort: Cohort,
    crops: Mapping[str, Pixels],
    *,
    protocol: Protocol | None = None,
    refused: Iterable[Refused] = (),
    replace: bool = False,
) -> None:
    """Write the cohort's photos that have a crop to ``folder``, through a temporary folder beside it.

    Photos without a crop, and patients left without photos, are not stored; the protocol is cut down likewise.

    Raises:
        CohortError: ``folder`` holds something already (``replace`` allows an earlier store), no photo has a
            crop, a crop is no (112, 112, 3) uint8 array, or the disk refuses.
    """
    check_target(folder, replace=replace)
    kept = with_photos(cohort, crops.keys())
    ids = tuple(photo.id for _, photo in kept.photos())
    if not ids:
        raise CohortError(f"cohort '{cohort.name}' has no photo with a crop", remedy="see the refused photos")
    if len(set(ids)) != len(ids):
        raise CohortError(f"cohort '{cohort.name}' has two photos of one id", remedy="make photo ids unique")
    for photo in ids:
        if crops[photo].shape != (SIZE, SIZE, 3) or crops[photo].dtype != np.uint8:
            raise CohortError(f"crop of photo {photo} is no (112, 112, 3) uint8 array", remedy="align it first")
    content = {
        "schema": SCHEMA,
        "cohort": _unnamed(kept).model_dump(mode="json"),
        "protocol": None if protocol is None else _PROTOCOL.dump_python(protocol.restricted_to(ids), mode="json"),
        "photo_ids": ids,
        "refused": _REFUSED.dump_python(
            [entry if entry.line else Refused("", 0, entry.reason) for entry in refused], mode="json"
        ),
    }
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        write_bytes(temporary / "cohort.json", _json(content))
        with (temporary / "crops.npy").open("wb") as file:
            np.save(file, np.stack([crops[photo] for photo in ids]), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        hashes = {name: sha256_file(temporary / name) for name in _FILES}
        write_json(temporary / "manifest.json", {"schema": SCHEMA, "sha256": hashes})
        _move(temporary, folder)
    except OSError as error:
        raise CohortError(
            f"cannot write {folder} ({error.strerror or error})",
            remedy="free disk space or choose a folder that you may write to",
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def load(folder: Path) -> StoredCohort:
    """Read a stored cohort; once more where another took its place meanwhile.

    Raises:
        CohortError: no stored cohort, one of another version, or one whose files changed since it was written.
    """
    while True:
        stamp = written(folder)
        try:
            return _load(folder)
        except CohortError:
            if written(folder) == stamp:
                raise


def written(folder: Path) -> tuple[int, int]:
    """What differs from one stored cohort in ``folder`` to the next; (0, 0) where there is none."""
    try:
        status = (folder / "manifest.json").stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def _load(folder: Path) -> StoredCohort:
    broken = "import the cohort again"
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        version, hashes = manifest["schema"], manifest["sha256"]
    except OSError as error:
        raise CohortError(f"{folder} holds no stored cohort", remedy="run phenofed cohort import") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CohortError(f"{folder / 'manifest.json'} is damaged", remedy=broken) from error
    newer = newer_file(str(folder / "manifest.json"), version, SCHEMA, kind=CohortError)
    if newer is not None:
        raise newer
    if version != SCHEMA:
        raise CohortError(f"{folder} has version {version}, this program reads {SCHEMA}", remedy=broken)
    try:
        for name in _FILES:
            if sha256_file(folder / name) != hashes[name]:
                raise CohortError(f"{folder / name} changed since it was written", remedy=broken)
        content = json.loads((folder / "cohort.json").read_bytes())
        cohort = Cohort.model_validate(content["cohort"])
        protocol = None if content["protocol"] is None else _PROTOCOL.validate_python(content["protocol"])
        ids = tuple(str(photo) for photo in content["photo_ids"])
        refused = tuple(_REFUSED.validate_python(content["refused"]))
        expected = len(ids) * SIZE * SIZE * 3
        # The header of an .npy file could ask for any amount of memory: mapped, it only says what it wants.
        if not expected < (folder / "crops.npy").stat().st_size <= expected + _NPY_HEADER:
            raise CohortError(f"{folder / 'crops.npy'} does not fit the cohort", remedy=broken)
        mapped = np.load(folder / "crops.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        raise CohortError(f"{folder} is damaged", remedy=broken) from error
    if mapped.shape != (len(ids), SIZE, SIZE, 3) or mapped.dtype != np.uint8:
        raise CohortError(f"{folder / 'crops.npy'} does not fit the cohort", remedy=broken)
    return StoredCohort(cohort=cohort, protocol=protocol, crops=np.array(mapped), photo_ids=ids, refused=refused)


def check_target(folder: Path, *, replace: bool = False) -> None:
    """Check that ``save`` may write to ``folder``.

    Raises:
        CohortError: it holds something, and not an earlier store that ``replace`` allows to go.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (replace and (folder / "manifest.json").is_file()):
        raise CohortError(f"{folder} exists already", remedy="choose another folder or remove it first")


def with_photos(cohort: Cohort, photo_ids: Iterable[str]) -> Cohort:
    """The cohort with only these photos, and without patients that have none of them."""
    wanted = set(photo_ids)
    patients = []
    for patient in cohort.patients:
        photos = tuple(photo for photo in patient.photos if photo.id in wanted)
        if photos:
            patients.append(patient.model_copy(update={"photos": photos}))
    return cohort.model_copy(update={"patients": tuple(patients)})


def _unnamed(cohort: Cohort) -> Cohort:
    """The cohort without names of photo and packet files; rows of a table keep their ``file:line``."""

    def bare(patient: Patient) -> Patient:
        photos = tuple(
            photo.model_copy(
                update={
                    "path": Path("crops.npy"),
                    "source": photo.source if _TABLE_ROW.search(photo.source) else "",
                }
            )
            for photo in patient.photos
        )
        return patient.model_copy(update={"photos": photos})

    return cohort.model_copy(update={"patients": tuple(bare(patient) for patient in cohort.patients)})


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _move(temporary: Path, folder: Path) -> None:
    """Put the finished folder in place; an earlier store gives way only when the new one is complete."""
    if not folder.exists() or not any(folder.iterdir()):
        os.replace(temporary, folder)
        return
    if exchange(temporary, folder):
        return  # what is temporary now is the earlier store
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
    os.replace(folder, aside)
    os.replace(temporary, folder)
    shutil.rmtree(aside, ignore_errors=True)
