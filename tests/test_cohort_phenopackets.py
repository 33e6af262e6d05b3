"""Phenopackets give diagnosis, features, age, sex and photos; nothing that names a person comes along."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cohort import phenopackets
from common.cohort.schema import Consent, Purpose
from common.errors import CohortError
from tests.cohort_files import drawn_face, write_packet

CONSENT = Consent(purposes=frozenset({Purpose.MATCH}))


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    root = tmp_path / "packets"
    (root / "photos").mkdir(parents=True)
    for number, disease in ((1, "OMIM:122470"), (2, "Orphanet:199")):
        drawn_face(number).save(root / "photos" / f"face {number}.jpg")
        write_packet(root / f"{number}.json", number, photo=f"photos/face%20{number}.jpg", disease=disease)
    return root


def test_a_packet_becomes_a_patient(packets: Path) -> None:
    result = phenopackets.read(packets, consent=CONSENT)
    assert result.refused == []
    first, second = result.cohort.patients
    assert (first.syndrome, second.syndrome) == ("OMIM:122470", "ORPHA:199")
    assert first.hpo_present == ("HP:0000316",)
    assert first.hpo_absent == ("HP:0000369",)
    assert (first.age_years, first.sex, first.pmid) == (4.5, "female", "PMID:12345678")
    assert first.photos[0].path == (packets / "photos" / "face 1.jpg").resolve()
    assert result.cohort.syndrome("OMIM:122470").name == "Disease OMIM:122470"


def test_identifiers_stay_behind_and_pseudonyms_are_stable(packets: Path) -> None:
    result = phenopackets.read(packets, consent=CONSENT)
    everything = result.cohort.model_dump_json(exclude={"name"})
    for secret in ("Hospital-Number", "Jane", "Secretname", "2001-02-03", "packet-1"):
        assert secret not in everything
    again = phenopackets.read(packets, consent=CONSENT)
    keyed = phenopackets.read(packets, consent=CONSENT, pseudonym_key=b"of this hospital")
    ids = [[patient.id for patient in r.cohort.patients] for r in (result, again, keyed)]
    assert ids[0] == ids[1]
    assert set(ids[0]).isdisjoint(ids[2])


def test_both_spellings_and_file_addresses_are_read(packets: Path) -> None:
    photo = (packets / "photos" / "face 2.jpg").resolve()
    packet = {
        "id": "p",
        "subject": {
            "id": "s",
            "sex": 2,
            "time_at_last_encounter": {"age_range": {"start": {"iso8601duration": "P18M"}}},
        },
        "phenotypic_features": [{"type": {"id": "HP:0000343"}}, {"type": {"id": "SNOMED:1"}}],
        "diseases": [
            {"term": {"id": "MONDO:0007374"}},
            {"term": {"id": "OMIM:1"}, "excluded": True},
        ],
        "files": [{"uri": photo.as_uri()}],
    }
    (packets / "2.json").write_text(json.dumps(packet))
    result = phenopackets.read(packets, consent=CONSENT)
    second = result.cohort.patients[1]
    assert (second.syndrome, second.sex, second.age_years) == ("MONDO:0007374", "male", 1.5)
    assert second.hpo_present == ("HP:0000343",)
    assert result.notes == ["1 entries among the features are no HPO identifiers and were left out"]


def test_an_unsolved_patient_has_no_syndrome(packets: Path) -> None:
    drawn_face(3).save(packets / "photos" / "face 3.jpg")
    write_packet(packets / "3.json", 3, photo="photos/face 3.jpg", interpretations=[])
    assert phenopackets.read(packets, consent=CONSENT).cohort.patients[2].syndrome is None


def test_unusable_packets_are_refused_by_name_and_reason(packets: Path, tmp_path: Path) -> None:
    drawn_face(9).save(tmp_path / "outside.jpg")
    drawn_face(8).save(packets / "photos" / "8.jpg")
    two = [{"diagnosis": {"disease": {"id": i}}} for i in ("OMIM:1", "OMIM:2")]
    write_packet(packets / "a.json", 1, photo="photos/8.jpg")
    write_packet(packets / "b.json", 11, photo="../outside.jpg")
    write_packet(packets / "c.json", 12, photo="photos/none.jpg")
    write_packet(packets / "d.json", 13, photo="photos/face 1.jpg")
    write_packet(packets / "e.json", 14, photo="photos/8.jpg", interpretations=two)
    write_packet(packets / "f.json", 15, photo="photos/8.jpg", disease="LOCAL:7")
    write_packet(packets / "g.json", 16, photo="photos/8.jpg", phenotypicFeatures={"Jane Roe": 1})
    write_packet(packets / "h.json", 17, photo="https://example.org/8.jpg")
    (packets / "i.json").write_text("{not json")
    (packets / "j.json").write_text("[" * 100_000)
    (packets / "k.json").write_text('{"some": "thing"}')
    (packets / "l.json").write_bytes(b"\xff\xfe\x00")
    result = phenopackets.read(packets, consent=CONSENT)
    assert len(result.cohort.patients) == 2
    reasons = {entry.file: entry.reason for entry in result.refused if not entry.reason.startswith("photo ")}
    photo_reasons = {entry.file: entry.reason for entry in result.refused if entry.reason.startswith("photo ")}
    assert reasons == {
        "a.json": "repeats the id and subject of another packet",
        "b.json": "has no usable photo",
        "c.json": "has no usable photo",
        "d.json": "has no usable photo",
        "e.json": "names 2 diseases: OMIM:1, OMIM:2",
        "f.json": "names a disease without an OMIM, ORPHA or MONDO identifier",
        "g.json": "is no phenopacket of version 2: see phenotypicFeatures",
        "h.json": "has no usable photo",
        "i.json": "is not valid JSON",
        "j.json": "is not valid JSON",
        "k.json": "is no phenopacket: it has no 'subject'",
        "l.json": "is not valid JSON",
    }
    assert photo_reasons["b.json"] == "photo 1: the photo lies outside the cohort's folder"
    assert photo_reasons["c.json"] == "photo 1: the photo cannot be read (No such file or directory)"
    assert photo_reasons["d.json"] == "photo 1 is that of another packet already"


def test_nothing_usable_is_one_clear_error(packets: Path, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="does not exist"):
        phenopackets.read(tmp_path / "missing", consent=CONSENT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CohortError, match="no phenopacket"):
        phenopackets.read(tmp_path / "empty", consent=CONSENT)
    (tmp_path / "empty" / "x.json").write_text("{}")
    with pytest.raises(CohortError, match=r"no usable packet; first: x.json: is no phenopacket"):
        phenopackets.read(tmp_path / "empty", consent=CONSENT)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_json_is_a_refusal_or_a_patient(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number, disease in ((1, "OMIM:122470"), (2, "OMIM:147920"), (3, "OMIM:1")):
            (root / f"{number}.jpg").write_bytes(bytes([number]))
            write_packet(root / f"{number}.json", number, photo=f"{number}.jpg", disease=disease)
        packet = json.loads((root / "3.json").read_text())
        place = packet
        while True:
            key = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.just(0))
            if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
                place = place[key]
            else:
                break
        place[key] = data.draw(_JSON)
        (root / "3.json").write_text(json.dumps(packet))
        result = phenopackets.read(root, consent=CONSENT)
        assert len(result.cohort.patients) == 3 or result.refused
