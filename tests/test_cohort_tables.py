"""Tables of any writer give rows with line numbers, or one clear error; cells become facts or nothing."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import ontology
from common.cohort import attributes
from common.cohort.attributes import Attributes, parse_age, parse_consent, parse_pmid, parse_sex
from common.cohort.schema import Consent, Purpose
from common.cohort.tables import read_rows
from common.errors import CohortError

DEFAULT = Consent(purposes=frozenset({Purpose.TRAIN}), expires=datetime.date(2030, 1, 1))


def test_line_numbers_count_blank_lines_and_quoted_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n\n1,"x\ny"\n2,z\n')
    rows, refused = read_rows(path, name="t.csv", required=("a", "b"))
    assert [(row.line, row["a"], row["b"]) for row in rows] == [(3, "1", "x\ufffdy"), (5, "2", "z")]
    assert refused == []


def test_only_columns_that_are_asked_for_leave(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("email,a,name\nx@y.example,1,Jane\n")
    rows, _ = read_rows(path, name="t.csv", required=("a",), optional=("b",))
    assert rows[0].cells == {"a": "1"}
    assert rows[0]["b"] == ""
    assert "Jane" not in repr(rows)


def test_short_rows_have_empty_cells_and_long_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1\n1,2,\n1,2,3\n")
    rows, refused = read_rows(path, name="t.csv", required=("a", "b"))
    assert [row["b"] for row in rows] == ["", "2"]
    assert str(refused[0]) == "t.csv:4: has more than 2 cells"


def test_cells_beyond_any_sense_are_one_error(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a\n"' + "x" * 200_000)
    with pytest.raises(CohortError, match=r"t.csv:2: .*: mend the quotes"):
        read_rows(path, name="t.csv", required=("a",))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400) | st.text('a,b\n\r"\t; ', max_size=200).map(str.encode))
def test_any_bytes_are_rows_or_a_cohort_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    try:
        rows, refused = read_rows(path, name="t.csv", required=("a", "b"))
    except CohortError:
        return
    lines = [row.line for row in rows] + [entry.line for entry in refused]
    assert all(line > 1 for line in lines)
    assert all(set(row.cells) == {"a", "b"} for row in rows)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({}, DEFAULT),
        ({"agreed": "yes"}, DEFAULT),
        ({"agreed": "no"}, Consent()),
        ({"agreed": "withdrawn", "purposes": "train"}, Consent()),
        ({"agreed": "perhaps"}, Consent()),
        (
            {"purposes": "Match; train"},
            Consent(purposes=frozenset({Purpose.TRAIN, Purpose.MATCH}), expires=DEFAULT.expires),
        ),
        ({"purposes": "train;sell"}, Consent()),
        ({"expires": "2027-05-06"}, Consent(purposes=DEFAULT.purposes, expires=datetime.date(2027, 5, 6))),
        ({"expires": "06/05/27"}, Consent()),
    ],
)
def test_what_cannot_be_understood_of_consent_permits_nothing(cells: dict[str, str], expected: Consent) -> None:
    consent, understood = parse_consent(DEFAULT, **cells)
    assert consent == expected
    assert understood == (cells.get("agreed") in ("no", "withdrawn") or consent != Consent())


def test_consent_ends_after_its_last_day() -> None:
    assert DEFAULT.allows(Purpose.TRAIN, datetime.date(2030, 1, 1))
    assert not DEFAULT.allows(Purpose.TRAIN, datetime.date(2030, 1, 2))


def test_several_photos_make_one_patient() -> None:
    rows = [
        Attributes(("HP:0000001",), ("HP:0000002",), 4.0, "male", "A", "PMID:1", DEFAULT),
        Attributes(("HP:0000002",), ("HP:0000003",), 2.0, "male", "B", None, Consent(purposes=frozenset(Purpose))),
    ]
    merged = attributes.merge(rows)
    assert merged.hpo_present == ("HP:0000001", "HP:0000002")
    assert merged.hpo_absent == ("HP:0000003",)
    assert (merged.age_years, merged.sex, merged.ancestry, merged.pmid) == (2.0, "male", None, "PMID:1")
    assert merged.consent == DEFAULT
    assert attributes.merge([*rows, Attributes(sex="female")]).consent.purposes == frozenset()


def test_cells_of_a_person() -> None:
    assert parse_age("3", "6") == 3.5
    assert parse_age("", "6") == 0.5
    assert parse_age("", "") is parse_age("old", "") is parse_age("300", "") is parse_age("nan", "") is None
    assert (parse_sex("F"), parse_sex("Male"), parse_sex("others")) == ("female", "male", None)
    assert parse_pmid("pmid: 123") == parse_pmid("123.0") == "PMID:123"
    assert parse_pmid("doi:1") is None


def test_identifiers_of_disorders() -> None:
    assert ontology.disorder_identifiers("122470; MIM:147920|Orphanet:199,122470.0") == (
        "OMIM:122470",
        "OMIM:147920",
        "ORPHA:199",
    )
    assert ontology.disorder_identifiers("none, http://x:y, MONDO:0007374") == ("MONDO:0007374",)
    assert ontology.disorder_identifiers("199", default="ORPHA") == ("ORPHA:199",)
