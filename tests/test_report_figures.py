"""The report tells the figures of the run, and those follow from predictions.csv."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path

import pytest

from simulations.folder import RunFolder
from simulations.report import write_report
from simulations.report.source import read
from simulations.report.syndromes import confusions, syndrome_rows
from tests.report_run import make_run


class Page(HTMLParser):
    """Tables by their accessible name, as rows of cell texts; and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._name, self._cell = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        if held.get("role") == "region":
            self._name = held["aria-label"] or ""
            self.tables[self._name] = []
        elif tag == "tr":
            self.tables[self._name].append([])
        elif tag in ("td", "th"):
            self.tables[self._name][-1].append("")
            self._cell = True
        elif tag == "span" and held.get("class") == "range" and self._cell:
            self.tables[self._name][-1][-1] += "|"

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.tables[self._name][-1][-1] += " ".join(data.split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = make_run(tmp_path_factory.mktemp("runs") / "sample")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: RunFolder) -> Page:
    return Page(run.report.read_text())


def test_every_accuracy_and_interval_of_the_results_stands_in_the_table(run: RunFolder, page: Page) -> None:
    results = json.loads(run.results.read_text())
    rows = {(row[0], row[1]): row[2:] for row in page.tables["Accuracy in every setting"][1:]}
    assert len(rows) == 16
    names = {
        "pretrained": "Pretrained", "local": "Local only", "federated": "Federated", "centralised": "Centralised",
    }  # fmt: skip
    for mode, by_setting in results["metrics"].items():
        for setting, figures in by_setting.items():
            for k, cell in zip((1, 5, 10, 30), rows[setting, names[mode]], strict=False):
                low, high = results["intervals"][mode][setting][f"top{k}"]
                assert cell == f"{100 * figures[f'top{k}']:.1f}|{100 * low:.1f}–{100 * high:.1f}"


def test_accuracies_follow_from_predictions_alone(run: RunFolder, page: Page) -> None:
    hits: dict[str, dict[str, dict[str, list[bool]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    with run.predictions.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["mode"] == "federated" and row["scorer"] == "centroid":
                hits[row["setting"]][row["split"]][row["label"]].append(int(row["rank"]) <= 5)
    rows = {row[0]: row[3] for row in page.tables["Accuracy in every setting"] if row[1] == "Federated"}
    for setting in ("F/F", "R/R", "F/both", "R/both"):
        splits = hits[setting].values()
        macro = [sum(sum(found) / len(found) for found in split.values()) / len(split) for split in splits]
        assert rows[setting].partition("|")[0] == f"{100 * sum(macro) / len(macro):.1f}"


def test_a_syndromes_figures_are_its_share_of_hits(run: RunFolder) -> None:
    source = read(run)
    rows = {row.name: row for row in syndrome_rows(source)}
    ranks = [
        row.rank
        for row in source.rows
        if (row.mode, row.scorer, row.setting, row.label) == ("federated", "centroid", "R/both", "s1")
    ]
    found = rows["Syndrome B"]
    assert found.hits[5] == pytest.approx(sum(rank <= 5 for rank in ranks) / len(ranks))
    assert (found.group, found.trained, found.patients, found.identifiers) == ("rare", 0, 4, "OMIM:100001")
    assert (rows["Syndrome A"].group, rows["Syndrome A"].trained) == ("frequent", 3)
    assert len(rows) == 14


def test_confusions_count_wrong_first_places(run: RunFolder) -> None:
    source = read(run)
    pair = confusions(source)[0]
    key = {syndrome.name: syndrome.key for syndrome in source.cohort.cohort.syndromes}
    tests = [
        row
        for row in source.rows
        if row.mode == "federated"
        and row.scorer == "centroid"
        and row.setting.endswith("both")
        and row.label == key[pair.truth]
    ]
    wrong = [row for row in tests if row.top[0][0] == key[pair.mistaken]]
    assert pair.truth != pair.mistaken
    assert pair.share == pytest.approx(len(wrong) / len(tests))
    assert pair.patients == len({row.subject for row in wrong})


def test_headline_names_the_finding_and_its_limits(run: RunFolder, page: Page) -> None:
    results = json.loads(run.results.read_text())
    figures = results["metrics"]["federated"]["F/F"]
    # Seven syndromes: a place among the first five would say little, so the headline is of the first place.
    assert "Three hospitals train one model together: it ranks the true syndrome first in " in page.text
    assert f"{100 * figures['top1']:.1f}% of tests" in page.text
    assert f"keeps {100 * results['retention']['F/F']['top1']:.1f}% of what training on all photos" in page.text
    assert "They do not show clinical accuracy." in page.text
    assert "not a medical device" in page.text


def test_encrypted_and_clear_accuracy_are_of_the_same_queries(run: RunFolder, page: Page) -> None:
    rows = page.tables["The same queries in clear and under encryption"][1:]
    assert [row[:2] for row in rows] == [["F/F", "in clear"], ["F/F", "encrypted"]]
    assert rows[0][2:] == rows[1][2:]
    held = json.loads(run.results.read_text())["encrypted"]["metrics"]["F/F"]
    assert rows[1][2:] == [f"{100 * held[f'top{k}']:.1f}" for k in (1, 5, 10, 30)]


def test_excluded_hospitals_are_named(page: Page) -> None:
    assert ["3", "silo-2: its loss is no number"] in page.tables["Hospitals and rounds that did not count"]


def test_hospitals_are_listed_with_what_they_hold(run: RunFolder, page: Page) -> None:
    silos = json.loads(run.results.read_text())["silos"]
    rows = page.tables["Hospitals"]
    assert rows[1:-1] == [
        [silo["name"], *(str(silo[key]) for key in ("patients", "photos", "syndromes"))] for silo in silos
    ]
    assert rows[-1][1] == str(sum(silo["patients"] for silo in silos))


def test_the_same_run_gives_the_same_report(run: RunFolder) -> None:
    first = run.report.read_bytes()
    assert write_report(run) == run.report
    assert run.report.read_bytes() == first


def test_an_unfinished_run_is_told_and_leaves_no_report(tmp_path: Path) -> None:
    from common.errors import RunError

    folder = make_run(tmp_path / "run", modes=("pretrained",))
    folder.results.unlink()
    with pytest.raises(RunError, match="not finished"):
        write_report(folder)
    assert not folder.report.exists()
