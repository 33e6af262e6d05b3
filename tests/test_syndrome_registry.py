"""The registry fixes the rows of every gallery: no row moves, and what hospitals name differently is one row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.workspace.labels import map_labels, read_labels, write_labels
from common.cohort import store
from common.cohort.schema import Cohort, Consent, Patient, Photo, Purpose, Syndrome
from common.consortium.signed_file import RefusedFile
from common.consortium.syndromes import Registry, follows, read_registry, write_registry
from common.errors import CohortError, ConfigError
from deploy.registry import read_source, revise
from tests.consortium_folder import write_table

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PINNED = KEY.public_key().public_bytes_raw()


def published(tmp_path: Path, *rows: str, after: Registry | None = None) -> Registry:
    """The registry after publishing a table of these rows."""
    listed, whole = read_source(write_table(tmp_path / "table.csv", rows))
    if after is None:
        return Registry("trial", revise((), listed, whole=whole))
    return after.succeeded_by(revise(after.entries, listed, whole=whole))


def keys(registry: Registry) -> list[str]:
    return [entry.key for entry in registry.entries if not entry.retired]


@pytest.fixture
def first(tmp_path: Path) -> Registry:
    return published(
        tmp_path,
        "CdLS,Cornelia de Lange syndrome,ORPHA:199;122470,NIPBL;SMC3,PS122470,",
        "OMIM:194050,Williams syndrome,ORPHA:904,ELN,,",
        "Kabuki,Kabuki syndrome,OMIM:147920|GENE:KMT2D,KMT2D,,",
    )


def test_a_registry_is_read_as_it_was_written(first: Registry) -> None:
    read = read_registry(write_registry(first, KEY), PINNED)
    assert read == first
    assert (read.version, read.digest) == (1, first.digest)
    assert read.entries[0].identifiers == ("ORPHA:199", "OMIM:122470")
    assert read.entries[0].genes == ("NIPBL", "SMC3")
    with pytest.raises(RefusedFile):
        read_registry(write_registry(first, Ed25519PrivateKey.generate()), PINNED)


def test_a_row_is_found_by_key_and_by_every_identifier(first: Registry) -> None:
    assert [first.row(name) for name in ("CdLS", "ORPHA:199", "OMIM:122470", "OMIM:194050")] == [0, 0, 0, 1]
    assert first.row("Cornelia de Lange syndrome") is None


def test_new_rows_are_appended_and_dropped_ones_stay(first: Registry, tmp_path: Path) -> None:
    second = published(tmp_path, "Noonan,Noonan syndrome,,,,", "CdLS,CdLS,ORPHA:199,,,", after=first)
    assert [entry.key for entry in second.entries] == ["CdLS", "OMIM:194050", "Kabuki", "Noonan"]
    assert keys(second) == ["CdLS", "Noonan"]
    assert second.row("Kabuki") is None
    assert second.lineages[:3] == first.lineages
    follows(first, second)
    third = published(tmp_path, "Kabuki,Kabuki syndrome,,,,", "CdLS,CdLS,,,,", after=second)
    assert third.row("Kabuki") == 2


def test_a_renamed_syndrome_keeps_row_and_lineage(first: Registry, tmp_path: Path) -> None:
    rows = ("OMIM:122470,CdLS 1,,,,CdLS", "OMIM:194050,W,,,,", "Kabuki,K,,,,")
    second = published(tmp_path, *rows, after=first)
    assert second.row("OMIM:122470") == second.row("CdLS") == 0
    assert second.lineages == first.lineages
    again = published(tmp_path, *rows, after=second)
    assert again.entries == second.entries
    follows(first, again)


def test_a_merge_retires_rows_but_forgets_no_lineage(first: Registry, tmp_path: Path) -> None:
    second = published(tmp_path, "Both,Both,,,,CdLS;Kabuki", "OMIM:194050,W,,,,", after=first)
    assert second.row("Both") == second.row("CdLS") == second.row("Kabuki") == 0
    assert second.entries[2].retired
    assert second.lineages == first.lineages
    follows(first, second)


def test_parts_of_a_split_share_the_lineage(first: Registry, tmp_path: Path) -> None:
    rows = ("CdLS1,CdLS 1,,,,CdLS", "CdLS2,CdLS 2,,,,CdLS", "OMIM:194050,W,,,,", "Kabuki,K,,,,")
    second = published(tmp_path, *rows, after=first)
    assert (second.row("CdLS1"), second.row("CdLS2")) == (0, 3)
    assert second.lineages[0] == second.lineages[3] == "CdLS"
    assert second.row("CdLS") is None, "an old label that is two disorders now must be mapped by hand"


def test_a_key_that_was_another_disorders_gets_a_lineage_of_its_own(first: Registry, tmp_path: Path) -> None:
    second = published(tmp_path, "CdLS1,CdLS 1,,,,CdLS", "Kabuki,K,,,,", after=first)
    third = published(tmp_path, "CdLS1,CdLS 1,,,,", "Kabuki,K,,,,", "CdLS,another,,,,", after=second)
    assert third.row("CdLS") == 3
    assert len(set(third.lineages)) == 4


def test_moved_rows_are_refused_even_when_signed(first: Registry) -> None:
    moved = first.succeeded_by(reversed(first.entries))
    with pytest.raises(ConfigError, match="moves rows"):
        follows(first, moved)
    with pytest.raises(ConfigError, match="moves rows"):
        follows(first, first.succeeded_by(first.entries[:1]))
    with pytest.raises(ConfigError, match="is older"):
        follows(first.succeeded_by(first.entries), first)
    with pytest.raises(ConfigError, match="does not continue"):
        follows(first, replace(first, entries=first.entries[:2]))


def test_every_problem_of_a_table_is_told_at_once(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", ["A,Alpha,122470x;ORPHA:no good,,,", "B,Beta,nonsense,,,"])
    with pytest.raises(ConfigError, match=r"t\.csv:2: '122470x'.*t\.csv:2: 'ORPHA:no good'.*t\.csv:3: 'nonsense'"):
        read_source(table)
    listed, _ = read_source(write_table(table, ["A,Alpha,,,,Old", "A,Again,,,,", "B" * 65 + ",Beta,,,,"]))
    with pytest.raises(ConfigError, match=r"no Old.*t\.csv:4: key: "):
        revise((), listed, whole=True)
    listed, _ = read_source(write_table(table, ["A,Alpha,,,,", "A,Again,,,,"]))
    with pytest.raises(ConfigError, match="key A stands twice"):
        revise((), listed, whole=True)
    with pytest.raises(CohortError, match="no column"):
        read_source(table_of(tmp_path, "name\nAlpha\n"))


def table_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "other.csv"
    path.write_text(text)
    return path


def hospital(*syndromes: Syndrome) -> Cohort:
    patients = tuple(
        Patient(
            id=f"P{number}",
            photos=(Photo(id=f"photo-{number}", path=Path("x"), sha256=f"{number:064x}"),),
            syndrome=syndrome.key,
            consent=Consent(purposes=frozenset({Purpose.MATCH})),
        )
        for number, syndrome in enumerate(syndromes)
    )
    return Cohort(name="clinic", patients=patients, syndromes=syndromes)


def stored(folder: Path, cohort: Cohort) -> Path:
    crops = {photo.id: np.zeros((112, 112, 3), np.uint8) for _, photo in cohort.photos()}
    store.save(folder, cohort, crops)
    return folder


def test_a_cohort_adds_and_never_retires(first: Registry, tmp_path: Path) -> None:
    cohort = hospital(
        Syndrome(key="Cornelia", name="Cornelia", identifiers=("OMIM:122470",)),
        Syndrome(key="Noonan", name="Noonan syndrome", identifiers=("OMIM:163950",)),
    )
    listed, whole = read_source(stored(tmp_path / "cohort", cohort))
    assert not whole
    second = first.succeeded_by(revise(first.entries, listed, whole=whole))
    assert keys(second) == ["CdLS", "OMIM:194050", "Kabuki", "Noonan"]
    follows(first, second)


def test_two_hospitals_that_name_one_syndrome_differently_meet_in_one_row(first: Registry) -> None:
    west = map_labels(first, [Syndrome(key="brachmann", name="", identifiers=("OMIM:122470",))], {})
    east = map_labels(first, [Syndrome(key="ORPHA:199", name="")], {})
    north = map_labels(first, [Syndrome(key="local 17", name="")], {"local 17": "CdLS"})
    assert {*west.rows.values(), *east.rows.values(), *north.rows.values()} == {0}
    assert not west.unmapped + east.unmapped + north.unmapped


def test_what_cannot_be_told_apart_stays_unmapped(first: Registry) -> None:
    syndromes = [
        Syndrome(key="unheard of", name=""),
        Syndrome(key="two at once", name="", identifiers=("OMIM:122470", "OMIM:194050")),
        Syndrome(key="known by gene", name="", identifiers=("GENE:KMT2D",)),
        Syndrome(key="other, same gene", name="", identifiers=("OMIM:999999", "GENE:KMT2D")),
    ]
    found = map_labels(first, syndromes, {})
    assert found.rows == {"known by gene": 2}
    assert found.unmapped == ("other, same gene", "two at once", "unheard of")


def test_a_hand_made_mapping_goes_first_and_is_checked(first: Registry, tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    assert read_labels(path) == {}
    write_labels(path, {"CdLS": "Kabuki", "yes": "OMIM:194050"}, first)
    assert map_labels(first, [Syndrome(key="CdLS", name="")], read_labels(path)).rows == {"CdLS": 2}
    with pytest.raises(ConfigError, match="no row for a: X; b: Y"):
        write_labels(path, {"a": "X", "b": "Y"}, first)
    path.write_text("CdLS: 3\n")
    with pytest.raises(ConfigError, match="must be text"):
        read_labels(path)
