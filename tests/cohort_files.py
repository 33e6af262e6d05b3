"""Cohorts on disk for the tests: drawn faces in each of the layouts that the readers know."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from common.faces.align import TEMPLATE


def drawn_face(seed: int, *, size: int = 128, left: float = 8.0, top: float = 8.0) -> Image.Image:
    """A face of ellipses whose landmarks lie at the template shifted by (left, top)."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(40, 220, 3)))
    draw = ImageDraw.Draw(image)
    skin = tuple(int(v) for v in rng.integers(120, 230, 3))
    draw.ellipse((left + 12, top + 6, left + 100, top + 112), fill=skin)
    for x, y in TEMPLATE[:2]:
        wide, high = rng.integers(5, 10), rng.integers(3, 7)
        draw.ellipse((x + left - wide, y + top - high, x + left + wide, y + top + high), fill=(30, 30, 40))
    nose_x, nose_y = TEMPLATE[2] + (left, top)
    draw.polygon([(nose_x - 6, nose_y + 4), (nose_x + 6, nose_y + 4), (nose_x, nose_y - 14)], fill=(150, 90, 80))
    (x1, y1), (x2, y2) = TEMPLATE[3:] + (left, top)
    draw.line((x1, y1, x2, y2), fill=(160, 40, 50), width=int(rng.integers(3, 8)))
    for _ in range(25):
        x, y = rng.uniform(0, size, 2)
        r = rng.uniform(1, 7)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
    return image


def drawn_landmarks(*, left: float = 8.0, top: float = 8.0) -> list[tuple[float, float]]:
    return [(float(x) + left, float(y) + top) for x, y in TEMPLATE]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@dataclass
class Gmdb:
    """A small GMDB layout: two frequent and two rare syndromes, one photo a patient, two silos."""

    root: Path
    version: str = "v9.9.9"
    photos: dict[int, tuple[int, int]] = field(default_factory=dict)  # photo -> (patient, label)

    @property
    def metadata(self) -> Path:
        return self.root / "gmdb_metadata"

    def table(self, role: str) -> Path:
        return self.metadata / f"gmdb_{role}_images_{self.version}.csv"

    def silo_table(self, role: str, party: int, *, prefix: str = "natural_site_", silos: int = 2) -> Path:
        name = f"{prefix}gmdb_{role}_images_{self.version}_{silos}_parties_party_{party}.csv"
        return self.metadata / "federated_metadata" / name

    def rows(self, photos: Iterable[int]) -> str:
        return "".join(f"{i},{self.photos[i][0]},{self.photos[i][1]}\n" for i in photos)

    def write_table(self, role: str, photos: Iterable[int]) -> None:
        self.table(role).write_text("image_id,subject,label\n" + self.rows(photos))

    def write_rare(self, role: str, splits: dict[int, list[int]]) -> None:
        lines = [f"{i},{self.photos[i][0]},{self.photos[i][1]},{n}\n" for n, ids in splits.items() for i in ids]
        self.table(role).write_text("image_id,subject,label,split\n" + "".join(lines))


def write_gmdb(root: Path, *, photos: bool = True) -> Gmdb:
    """Photos 1-8 of labels 70 and 71 (frequent), 9-12 of 72 and 73 (rare); photo n belongs to patient 100 + n.

    Without ``photos`` their files are no photographs, for tests that read tables alone.
    """
    gmdb = Gmdb(root)
    labels = [70, 70, 70, 70, 71, 71, 71, 71, 72, 72, 73, 73]
    gmdb.photos = {i: (100 + i, label) for i, label in enumerate(labels, start=1)}
    (root / "gmdb_images").mkdir(parents=True)
    (root / "gmdb_rot").mkdir()
    (gmdb.metadata / "federated_metadata").mkdir(parents=True)
    for i in gmdb.photos:
        path = root / "gmdb_images" / f"{i}.jpg"
        if photos:
            drawn_face(i).save(path, quality=95)
        else:
            path.write_bytes(b"no photo")
    points = ",".join(f"{v:.3f}" for point in drawn_landmarks() for v in point)
    header = "img,bbox_x1,bbox_y1,bbox_x2,bbox_y2," + ",".join(f"kp{i}_{a}" for i in range(1, 6) for a in "xy")
    lines = [header, *(f"{i}.jpg,20,14,108,120,{points}" for i in gmdb.photos)]
    (root / "gmdb_rot" / "face_coords.csv").write_text("\n".join(lines) + "\n")
    gmdb.write_table("train", [1, 2, 5, 6])
    gmdb.write_table("val", [3, 7])
    gmdb.write_table("frequent_gallery", [1, 2, 3, 5, 6, 7])
    gmdb.write_table("frequent_test", [4, 8])
    gmdb.write_rare("rare_gallery", {0: [9, 11], 1: [10, 12]})
    gmdb.write_rare("rare_test", {0: [10, 12], 1: [9, 11]})
    for party, photos in enumerate(([1, 3, 5, 9, 10], [2, 6, 7, 11, 12])):
        roles = {"train": {1, 2, 5, 6}, "val": {3, 7}, "rare": {9, 10, 11, 12}}
        for role, members in roles.items():
            listed = gmdb.rows(i for i in photos if i in members)
            gmdb.silo_table(role, party).write_text("image_id,subject,label\n" + listed)
    (gmdb.metadata / f"gmdb_syndromes_{gmdb.version}.tsv").write_text(
        "syndrome_id\tsyndrome_name\tOMIM\n70\tFirst syndrome\t122470\n71\tSecond\t\n72\tThird\t147920;180849\n"
    )
    (gmdb.metadata / f"image_metadata_{gmdb.version}.tsv").write_text(
        "image_id\tpatient_name\temail\tauthor\tusername\tinternal_syndrome_id\tinternal_syndrome_name\tage_year\t"
        "age_month\tgender\tethnicity_category\tpresent_features\tabsent_features\tpmid\tconsent\n"
        "1\tJane Roe\tjane@roe.example\tDr Secretname\tsecretuser\t70\tFirst\t3\t6\tfemale\tAsian\t"
        "HP:0000316;HP:0000343\tHP:0000369\tPMID:12345678\tyes\n"
        "12\tJohn Roe\tj@roe.example\tDr Secretname\tsecretuser\t73\tFourth syndrome\t\t\tothers\t\t\t\t\tno\n"
    )
    return gmdb


def write_folder(root: Path, *, patients: int = 4) -> Path:
    """A folder cohort of one photo a patient, two syndromes; the path of its table."""
    root.mkdir(parents=True, exist_ok=True)
    columns = [f"kp{i}_{a}" for i in range(1, 6) for a in "xy"]
    points = ",".join(f"{v:.3f}" for point in drawn_landmarks() for v in point)
    lines = ["photo,patient,syndrome," + ",".join(columns)]
    for i in range(patients):
        drawn_face(50 + i).save(root / f"face {i}.png")
        lines.append(f"face {i}.png,P-{i},{('OMIM:122470', 'OMIM:147920')[i % 2]},{points}")
    table = root / "cohort.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def write_packet(path: Path, number: int, *, photo: str, disease: str = "OMIM:122470", **changes: object) -> None:
    """A phenopacket of version 2 that also holds what must not come in."""
    packet: dict[str, object] = {
        "id": f"packet-{number}",
        "subject": {
            "id": f"Hospital-Number-{number}",
            "alternateIds": ["Jane Roe"],
            "dateOfBirth": "2001-02-03T00:00:00Z",
            "timeAtLastEncounter": {"age": {"iso8601duration": "P4Y6M"}},
            "sex": "FEMALE",
        },
        "phenotypicFeatures": [
            {"type": {"id": "HP:0000316", "label": "Hypertelorism"}},
            {"type": {"id": "HP:0000369", "label": "Low-set ears"}, "excluded": True},
        ],
        "interpretations": [
            {
                "id": "i",
                "progressStatus": "SOLVED",
                "diagnosis": {"disease": {"id": disease, "label": f"Disease {disease}"}},
            }
        ],
        "files": [
            {"uri": photo, "fileAttributes": {"mediaType": "image/jpeg"}},
            {"uri": "file:///variants.vcf", "fileAttributes": {"fileFormat": "VCF"}},
        ],
        "metaData": {
            "createdBy": "Dr Secretname",
            "externalReferences": [{"id": "PMID:12345678"}],
            "phenopacketSchemaVersion": "2.0",
        },
    }
    packet.update(changes)
    path.write_text(json.dumps(packet))
