"""The tutorial's code blocks, run in order as a reader would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(python|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks() -> list[tuple[str, int, str]]:
    """(language, line of its first code line, text) of every fenced block."""
    text = TUTORIAL.read_text()
    return [(match[1], text.count("\n", 0, match.start(2)), match[2]) for match in BLOCK.finditer(text)]


def test_every_block_of_the_tutorial_runs_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, line, text in blocks():
        if language == "yaml":
            first = text.splitlines()[0]
            assert re.fullmatch(r"# \w+\.yaml", first), f"line {line + 1}: the first line must name the file"
            (tmp_path / first.removeprefix("# ")).write_text(text)
        else:
            # Blank lines above keep the tutorial's own line numbers in a traceback.
            exec(compile("\n" * line + text, str(TUTORIAL), "exec"), names)
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()


def test_the_tutorial_has_code_to_run() -> None:
    languages = [language for language, _, _ in blocks()]
    assert languages.count("python") >= 8
    assert languages.count("yaml") >= 1
