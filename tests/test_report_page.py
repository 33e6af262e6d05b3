"""The report is one closed page: it loads nothing, runs nothing, escapes names, and shows no patient unasked."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from common.cohort.reading import Refused
from common.cohort.schema import Purpose
from simulations.report import write_report
from simulations.report.palette import DARK, LIGHT, MARKS, TEXT_PAIRS, contrast
from tests.report_run import make_run

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;{{ 7*7 }}"
VOID = {"meta", "img", "input", "br", "hr", "link"}


class Elements(HTMLParser):
    """Every element with its attributes; elements that are not closed in order are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def values(self, *names: str) -> Iterator[str]:
        for _, attributes in self.found:
            yield from (attributes[name] for name in names if name in attributes)


def report(path: Path, **options: object) -> str:
    return write_report(make_run(path, **options)).read_text()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(tmp_path_factory.mktemp("runs") / "full", names=[HOSTILE, *(f"S {i}" for i in range(43))])


def test_nothing_is_loaded_and_nothing_runs(full: str) -> None:
    page = Elements(full)
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.values("src"))
    assert all(value.startswith("#") for value in page.values("href", "xlink:href"))
    assert not {tag for tag, _ in page.found} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert not [name for _, held in page.found for name in held if name.startswith("on") or name == "style"]
    style = re.search("<style>(.*?)</style>", full, re.DOTALL)
    assert style is not None
    assert not re.search(r"url\(|@import|https?:", style[1])


def test_policy_forbids_any_load_and_knows_the_style(full: str) -> None:
    policy = re.search('<meta http-equiv="Content-Security-Policy" content="([^"]*)">', full)
    assert policy is not None
    rules = policy[1].replace("&#39;", "'").split("; ")
    assert "default-src 'none'" in rules
    assert not [rule for rule in rules if "unsafe" in rule or "*" in rule or "script" in rule]
    style = re.search("<style>(.*?)</style>", full, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in rules


def test_hostile_names_are_text(full: str) -> None:
    assert "<script" not in full
    assert "<img src=x" not in full
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in full
    assert "{{ 7*7 }}" in full
    assert "&amp;amp;" in full


def test_hostile_silo_names_and_reasons_are_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.report_run.SILOS", ("<b>a", "silo-2", "silo-3"))
    text = report(tmp_path / "run", refused=[Refused("x.csv", 2, "<i>reason")])
    assert "<b>a" not in text
    assert "<i>reason" not in text
    Elements(text)


def test_every_picture_and_chart_has_words(full: str) -> None:
    page = Elements(full)
    for tag, held in page.found:
        if tag == "img":
            assert re.match("4 synthetic faces: |6 synthetic faces of this run", held["alt"])
        if tag == "svg":
            assert held.get("aria-hidden") == "true" or held["role"] == "img"
    named = {name for value in page.values("aria-labelledby") for name in value.split()}
    ids = list(page.values("id"))
    assert named <= set(ids)
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in page.values("href")} <= set(ids)
    tags = [tag for tag, _ in page.found]
    assert all(tags.count(landmark) == 1 for landmark in ("main", "nav", "header", "footer", "h1"))


def test_many_syndromes_are_folded(full: str) -> None:
    assert "The 15 hardest of" in full
    assert "All 44 syndromes" in full
    assert full.count("<img ") == 18 + 1


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_have_contrast(scheme: dict[str, str]) -> None:
    assert {f"{text} on {ground}": contrast(scheme[text], scheme[ground]) for text, ground in TEXT_PAIRS if
            contrast(scheme[text], scheme[ground]) < 4.5} == {}  # fmt: skip
    assert [mark for mark in MARKS if contrast(scheme[mark], scheme["paper"]) < 3] == []
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_imported_photos_are_not_shown(tmp_path: Path) -> None:
    text = report(tmp_path / "run", synthetic=False)
    assert "data:image" not in text
    assert "<img" not in text
    assert "The cohort was imported, so no photograph is shown." in text


def test_imported_photos_need_consent_to_display_even_when_asked_for(tmp_path: Path) -> None:
    research = frozenset({Purpose.TRAIN, Purpose.MATCH})
    text = report(tmp_path / "run", synthetic=False, show_photos=True, purposes=research)
    assert "data:image" not in text
    assert "No patient of this cohort agreed to be displayed" in text


def test_imported_photos_with_consent_are_shown_when_asked_for(tmp_path: Path) -> None:
    text = report(tmp_path / "run", synthetic=False, show_photos=True)
    assert text.count('<img src="data:image/jpeg;base64,') == 14
    assert "photographs of patients who agreed" in text.lower()


def test_imported_figures_are_not_called_rendered(tmp_path: Path) -> None:
    text = report(tmp_path / "run", synthetic=False)
    assert "faces are rendered" not in text
    assert "They do not show clinical accuracy." in text.replace("\n", " ")


def test_strips_hold_the_stored_faces(tmp_path: Path) -> None:
    from PIL import Image

    shade = {f"f{i}-{j}": np.full((112, 112, 3), 20 * i + 10, np.uint8) for i in range(3) for j in range(6)}
    text = report(tmp_path / "run", names=["A", "B", "C"], crops=shade)
    found = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", text)
    assert len(found) == 3
    for index, data in enumerate(found):
        (tmp_path / "strip.jpg").write_bytes(base64.b64decode(data))
        pixels = np.asarray(Image.open(tmp_path / "strip.jpg"))
        assert pixels.shape == (112, 4 * 112, 3)
        assert np.abs(pixels.astype(int) - (20 * index + 10)).max() <= 3


@pytest.mark.parametrize(
    "options",
    [
        {"modes": ("pretrained",)},
        {"modes": ("pretrained", "federated")},
        {"modes": ("pretrained", "centralised")},
        {"encrypted": False},
        {"validation": False},
        {"losses": (1.0,)},
        {"losses": (float("nan"), float("nan"))},
        {"names": ["A", "B"]},
        {"names": ["S " + "long" * 60, "B" * 200]},
    ],
    ids=lambda options: "-".join(options),
)
def test_absent_and_odd_parts_leave_a_whole_page(tmp_path: Path, options: dict[str, object]) -> None:
    text = report(tmp_path / "run", **options)
    Elements(text)
    shown = re.sub("<style>.*?</style>", "", text, flags=re.DOTALL)
    shown = re.sub('data:image[^"]*', "", shown)
    assert not re.search(r"\b(nan|NaN|None|inf|Undefined)\b", shown)
    if options.get("modes") == ("pretrained",):
        assert "Before any training on patients" in text
        assert "Nothing was trained in this run." in text
    if not options.get("encrypted", True) or ("modes" in options and "federated" not in options["modes"]):  # type: ignore[operator]
        assert "Encrypted ranking was not part of this run." in text


def test_refusals_are_counted_by_reason_without_file_names(tmp_path: Path) -> None:
    refused = [
        Refused("secret-name.csv", 3, "the photo has no face"),
        Refused("secret-name.csv", 9, "the photo has no face"),
        Refused("other.csv", 2, "no label"),
    ]
    text = report(tmp_path / "run", refused=refused)
    assert "3 rows or photos were refused on import" in " ".join(text.split())
    assert re.search(r"the photo has no face</td><td class=\"number\">2<", text)
    assert "secret-name" not in text


def test_results_of_an_altered_file_are_still_escaped(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    text = folder.results.read_text().replace('"cores"', '"cpu": "<img src=x>", "cores"', 1)
    folder.results.write_text(text)
    assert "<img src=x>" not in write_report(folder).read_text()


def test_a_run_without_ranked_tests_claims_nothing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", encrypted=False)
    results = json.loads(folder.results.read_text())
    results |= {"metrics": {}, "intervals": {}, "retention": {}, "scorers": {}, "training": {}, "silos": []}
    folder.results.write_text(json.dumps(results))
    folder.predictions.write_text(folder.predictions.read_text().splitlines()[0] + "\n")
    text = write_report(folder).read_text()
    Elements(text)
    assert "No test patient was ranked in this run" in text
    assert "guessing would" not in text


def test_null_figures_are_dashes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    results = json.loads(folder.results.read_text())
    results["metrics"]["federated"]["R/R"] |= {"top1": None, "top10": None}
    results["intervals"]["federated"]["R/R"]["top1"] = [None, None]
    results["encrypted"] |= {"max_abs_error": None, "pairs": [[None, 0.1], [0.2, 0.2]]}
    results["timing"] |= {"rank_s": None, "round_s": [None]}
    folder.results.write_text(json.dumps(results))
    text = write_report(folder).read_text()
    Elements(text)
    assert '<td class="number">–</td>' in text
    assert "None" not in text


def test_hundreds_of_hospitals_are_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.report_run.SILOS", tuple(f"silo-{number:03}" for number in range(64)))
    text = report(tmp_path / "run", modes=("pretrained", "federated"), names=[f"S {i}" for i in range(60)])
    Elements(text)
    assert re.search(r"All \d\d hospitals</summary>", text)
