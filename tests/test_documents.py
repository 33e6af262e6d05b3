"""Documents stay true: links lead somewhere, commands parse, tables name what the code writes."""

from __future__ import annotations

import csv
import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
import typer.main

from common import errors
from common.cli import INTERRUPTED, application
from common.errors import PhenofedError
from simulations.running import Run

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
MACHINE_PATH = re.compile(r"(?<![\w.~<])/(?:home|root|work|tmp|mnt|Users|opt|srv)/\w+")

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def anchors(path: Path) -> set[str]:
    """The headings of a document as links name them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_links_lead_to_files_that_exist(path: Path) -> None:
    text = CODE.sub("", path.read_text())
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path.name} links to {target}"
        assert file.is_relative_to(ROOT), f"{path.name} links out of the project: {target}"
        assert not anchor or anchor in anchors(file), f"{path.name} links to {target}"


@every_document
def test_no_document_names_a_path_of_one_machine(path: Path) -> None:
    assert MACHINE_PATH.findall(path.read_text()) == []


def command_lines(text: str) -> Iterator[list[str]]:
    """The words after every ``phenofed`` in code: lines of fenced blocks that begin with it, and inline code."""
    for code in CODE.findall(text):
        lines = code.splitlines()[1:-1] if code.startswith("```") else [code.strip("`")]
        for line in lines:
            words = line.strip().removeprefix(".venv/bin/")
            if words.startswith("phenofed ") and words != "phenofed ...":
                yield shlex.split(words, comments=True)[1:]


def problem(words: list[str]) -> str | None:
    """What is wrong with a command line: an unknown command, an unknown option, or one of its values."""
    command: click.Command = typer.main.get_command(application())
    rest = list(words)
    while isinstance(command, click.Group):
        if not rest or rest[0] in ("--help", "-h", "--version"):
            return None
        name = rest.pop(0)
        if name not in command.commands:
            return f"no command '{name}'"
        command = command.commands[name]
    options = {name: param for param in command.params for name in (*param.opts, *param.secondary_opts)}
    while rest:
        name, _, value = rest.pop(0).partition("=")
        if not name.startswith("-") or name in ("--help", "-h"):
            continue
        option = options.get(name)
        if not isinstance(option, click.Option):
            return f"no option '{name}'"
        # In prose an option may stand without its value, as in `phenofed simulate --resume`.
        if rest and not option.is_flag and not value:
            rest.pop(0)
    return None


@every_document
def test_commands_in_documents_exist_with_their_options(path: Path) -> None:
    wrong = [(words, found) for words in command_lines(path.read_text()) if (found := problem(words))]
    assert wrong == []


def test_a_wrong_command_would_be_noticed() -> None:
    text = (
        "`phenofed simulate smoke --no-such-option`, `phenofed dmeo`\n```\nphenofed rank a.png --agianst X\n```\n"
    )
    assert [problem(words) for words in command_lines(text)] == [
        "no option '--no-such-option'",
        "no command 'dmeo'",
        "no option '--agianst'",
    ]


def reference() -> ModuleType:
    """docs/reference.py, which is no part of any package."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_scenario_keys_is_current() -> None:
    made = reference()
    text = made.DOCUMENT.read_text()
    assert made.filled(text) == text, "run: python docs/reference.py"


def test_a_scenario_key_without_a_meaning_is_noticed() -> None:
    made = reference()
    del made.MEANING["seed"]
    with pytest.raises(ValueError, match="seed"):
        made.render()


def section(document: str, heading: str) -> str:
    """The text under one heading of second rank."""
    text = (ROOT / "docs" / document).read_text()
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def first_cells(text: str) -> set[str]:
    """What stands in code in the first column of a section's tables."""
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_document_of_files_names_every_key_of_results(finished: Run) -> None:
    encrypted = finished.results["encrypted"]
    assert first_cells(section("files.md", "results.json")) == set(finished.results) | set(encrypted)


@pytest.mark.parametrize(
    ("name", "delimiter"), [("predictions.csv", ","), ("all_encodings.csv", ";")], ids=["predictions", "encodings"]
)
def test_the_document_of_files_names_every_column(finished: Run, name: str, delimiter: str) -> None:
    with (finished.folder / name).open(newline="") as file:
        columns = next(csv.reader(file, delimiter=delimiter))
    assert first_cells(section("files.md", name)) == set(columns)


def test_the_document_of_files_names_everything_in_a_runs_folder(finished: Run) -> None:
    text = (ROOT / "docs" / "files.md").read_text().split("## results.json")[0]
    listed = {name.split("/")[0] for name in first_cells(text)}
    assert listed == {path.name for path in finished.folder.iterdir()}


def test_the_table_of_exit_codes_is_that_of_the_errors() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PhenofedError)]
    rows = re.findall(r"^\| (\d+) \| .* \| (?:`(\w+)`)? ?\|$", section("files.md", "Exit codes"), re.MULTILINE)
    assert {(int(code), name) for code, name in rows if name} == {
        (kind.exit_code, kind.__name__) for kind in kinds
    }
    assert {int(code) for code, name in rows if not name} == {0, 2, INTERRUPTED}
