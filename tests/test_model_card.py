"""Model cards: what they tell, what they leave unsaid, and that small counts cannot be computed from them."""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from common.cohort.schema import Patient
from common.errors import RunError
from common.releases.card import RESEARCH_ONLY, model_card
from common.releases.facts import CardFacts, Figure, People, SiloSize, people_of
from common.releases.manifest import Manifest, Origin
from common.releases.small_cells import shown_table
from server.releases.finished_run import read_facts, read_run
from tests.release_files import NOON, make_finished_run, write_model

ORIGIN = Origin(name="trial", number=3, created=NOON, software="0.1.0", protocol=1, purposes=("train",))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_model(tmp_path_factory.mktemp("model")).manifest


def section(card: str, heading: str) -> str:
    """What stands under a heading, of whatever rank."""
    return re.split(r"\n#+ ", card.split(f"# {heading}\n")[1])[0]


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line][2:]


def test_a_card_says_research_only_and_gives_every_section(manifest):
    card = model_card(manifest, ORIGIN, CardFacts())
    assert card.startswith("# Model card: trial, release 3\n")
    assert RESEARCH_ONLY in card
    for heading in ("Intended use", "Limits", "Data", "Figures", "How it was made", "Where the figures come from"):
        assert section(card, heading).strip()
    assert "Any face yields a list" in section(card, "Limits")
    assert ["purposes that patients agreed to", "train"] in rows(card)


@pytest.mark.parametrize("heading", ["Silos", "Age in years", "Sex", "Ancestry", "Figures"])
def test_what_is_not_known_is_said_to_be_not_recorded(manifest, heading):
    assert section(model_card(manifest, ORIGIN, CardFacts()), heading).strip() == "Not recorded."


def test_a_figure_stands_with_its_interval_and_source(manifest):
    figure = Figure("federated", "R/R", 41, {"top1": 0.309, "top10": 0.612}, {"top1": (0.25, 0.375)})
    facts = CardFacts(figures=(figure,), scorer="hybrid", sources={"results.json": "ab" * 32})
    card = model_card(manifest, ORIGIN, facts)
    assert ["federated", "R/R", "41", "30.9 (25.0 to 37.5)", "-", "61.2", "-"] in rows(section(card, "Figures"))
    assert "rare syndromes" in section(card, "Figures")
    assert f"results.json, SHA-256 `{'ab' * 32}`" in section(card, "Where the figures come from")


def sizes(*patients: int) -> CardFacts:
    return CardFacts(silos=tuple(SiloSize(f"silo-{i}", n, 2 * n, 3) for i, n in enumerate(patients)))


def test_a_small_silo_is_hidden_with_its_photos_and_one_more_silo(manifest):
    table = rows(section(model_card(manifest, ORIGIN, sizes(20, 3, 30)), "Silos"))
    assert table == [
        ["silo-0", "not shown", "not shown", "not shown"],
        ["silo-1", "<5", "not shown", "not shown"],
        ["silo-2", "30", "60", "3"],
        ["all", "53", "not shown", ""],
    ]


def test_sizes_are_left_out_where_a_sum_would_give_them_away(manifest):
    for patients in ((3,), (2, 5), (4, 4)):
        text = section(model_card(manifest, ORIGIN, sizes(*patients)), "Silos")
        assert "sizes left out" in text
        assert rows(text) == []
    assert "<5 patients together" in section(model_card(manifest, ORIGIN, sizes(3)), "Silos")


def test_no_hidden_count_follows_from_a_table_and_its_total():
    """All tables of four rows up to 20: whoever knows rule, table and total is left with 1, 2, 3 and 4 alike."""
    possible: dict[tuple[tuple[str, ...], int], list[tuple[int, ...]]] = defaultdict(list)
    for counts in itertools.product(range(21), repeat=4):
        if sum(counts) <= 20:
            table = shown_table(dict(zip("abcd", counts, strict=True)))
            possible[tuple(table.values()) if table else (), sum(counts)].append(counts)
    checked = 0
    for (cells, total), tables in possible.items():
        for place in (i for i, cell in enumerate(cells) if cell == "<5"):
            assert {counts[place] for counts in tables} == {1, 2, 3, 4}, (cells, total)
            checked += 1
    assert checked > 500


def test_zero_and_large_counts_are_shown_as_they_are():
    assert shown_table({"a": 0, "b": 5, "c": 120}) == {"a": "0", "b": "5", "c": "120"}


def patient(number: int, **known: object) -> Patient:
    return Patient.model_validate({"id": f"p{number}", "photos": (), **known})


def test_rare_ancestries_stand_together_and_unknown_ones_apart():
    of = ["A"] * 6 + ["B"] * 3 + ["C"] * 4 + [None] * 7
    people = people_of([patient(i, ancestry=name) for i, name in enumerate(of)])
    assert people.ancestries == {"A": 6, "others": 7, "not recorded": 7}
    assert people.ages == people.sexes == {}


def test_ages_and_sexes_are_counted_in_a_fixed_order():
    ages = [0.5, 2, 5.9, 6, 12, 17.9, 18, 70, None]
    people = people_of([patient(i, age_years=age, sex="female" if i else None) for i, age in enumerate(ages)])
    assert list(people.ages.values()) == [1, 2, 1, 2, 2, 1]
    assert people.sexes == {"female": 8, "male": 0, "not recorded": 1}


def test_a_small_group_is_hidden_in_the_tables_of_people(manifest):
    people = People(sexes={"female": 40, "male": 2, "not recorded": 0}, ages={"0 to 1": 3, "2 to 5": 1})
    card = model_card(manifest, ORIGIN, CardFacts(people=people))
    assert rows(section(card, "Sex")) == [["female", "not shown"], ["male", "<5"], ["not recorded", "0"]]
    assert section(card, "Age in years").strip() == "Left out: too few patients."


def test_names_cannot_write_into_the_card(manifest):
    evil = "a|b\n# Approved <script>x</script> [link](http://x) \x1b[31m"
    facts = CardFacts(data=evil, silos=(SiloSize(evil, 10, 10, 2),), left_out={evil: 1})
    card = model_card(manifest, ORIGIN.model_copy(update={"name": evil}), facts)
    assert "\n# Approved" not in card
    assert "\x1b" not in card
    assert not re.search(r"(?<!\\)<script", card)
    assert not re.search(r"(?<!\\)\[link", card)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_finished_run(tmp_path_factory.mktemp("finished") / "run")


def test_a_finished_run_gives_the_facts_of_its_results(run, manifest):
    finished = read_run(run)
    model, facts = finished.model, finished.facts
    results = json.loads((run / "results.json").read_text())
    assert [(silo.name, silo.patients) for silo in facts.silos] == [
        (silo["name"], silo["patients"]) for silo in results["silos"]
    ]
    first = facts.figures[0]
    assert first.mode == "federated"
    assert first.top["top1"] == results["metrics"]["federated"][first.setting]["top1"]
    assert first.intervals["top1"] == tuple(results["intervals"]["federated"][first.setting]["top1"])
    assert set(facts.sources) == {"results.json", "predictions.csv"}
    card = model_card(model.manifest, ORIGIN, facts)
    assert "synthetic faces" in section(card, "Data")


def test_a_run_without_results_still_gives_a_card(tmp_path, manifest):
    write_model(tmp_path / "releases")
    finished = read_run(tmp_path)
    assert (
        section(model_card(finished.model.manifest, ORIGIN, finished.facts), "Figures").strip() == "Not recorded."
    )


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"schema": 2}', '{"schema": 1, "silos": [{"name": "a"}]}', "1" * 9]
)
def test_damaged_results_are_refused(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(RunError, match=r"results\.json"):
        read_facts(tmp_path)
