"""``phenofed cohort`` shows what a cohort holds; wrong input ends in one line, a documented code, and no trace."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from common.cohort import store
from common.cohort.cli import register
from common.cohort.schema import Purpose
from common.errors import PhenofedError
from tests.cohort_files import drawn_face, write_folder, write_gmdb, write_packet


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["cohort", *(str(argument) for argument in arguments)])


def failure(*arguments: object) -> PhenofedError:
    result = run(*arguments)
    assert isinstance(result.exception, PhenofedError), result.output
    assert result.exception.remedy
    assert "\n" not in str(result.exception)
    return result.exception


def test_check_counts_and_writes_nothing(tmp_path: Path) -> None:
    layout = write_gmdb(tmp_path / "gmdb")
    before = sorted(tmp_path.rglob("*"))
    result = run("check", layout.root, "--partition", "site", "--silos", 2)
    assert result.exit_code == 0
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split("│") for line in result.output.splitlines())
        if len(cells) > 3
    }
    assert rows["patients"] == ["11"]
    assert rows["photos"] == ["11"]
    assert rows["syndromes"] == ["4"]
    assert rows["silo-1"] == ["5", "5", "3"]
    assert rows["may match today"] == ["11"]
    assert rows["refused rows"] == ["1"]
    assert "photo 12: consent does not cover any purpose" in result.output
    assert sorted(tmp_path.rglob("*")) == before


def test_check_lists_every_refused_row(tmp_path: Path) -> None:
    layout = write_gmdb(tmp_path / "gmdb")
    (layout.root / "gmdb_images" / "4.jpg").unlink()
    path = layout.root / "gmdb_images" / "9.jpg"
    path.write_bytes(path.read_bytes()[:700])
    output = run("check", layout.root).output
    assert "3 refused rows" in output
    assert "photo 4 has no file" in output
    assert "photo 9 is corrupt or truncated" in output
    assert "photo 9" not in run("check", layout.root, "--tables").output
    error = failure("check", layout.root, "--strict")
    assert error.exit_code == 4
    assert "3 rows are refused" in str(error)


def test_import_stores_what_can_be_loaded(tmp_path: Path) -> None:
    write_folder(tmp_path / "clinic")
    result = run(
        "import", tmp_path / "clinic", "--out", tmp_path / "out", "--purposes", "match", "--expires", "2031-12-31"
    )
    assert result.exit_code == 0, result.output
    stored = store.load(tmp_path / "out")
    assert len(stored.photo_ids) == 4
    assert stored.cohort.patients[0].consent.purposes == {Purpose.MATCH}
    error = failure("import", tmp_path / "clinic", "--out", tmp_path / "out")
    assert error.exit_code == 4
    assert "is a stored cohort" in str(failure("check", tmp_path / "out"))


def test_phenopackets_are_told_by_their_files(tmp_path: Path) -> None:
    for number, disease in ((1, "OMIM:122470"), (2, "OMIM:147920")):
        drawn_face(number).save(tmp_path / f"{number}.jpg")
        write_packet(tmp_path / f"{number}.json", number, photo=f"{number}.jpg", disease=disease)
    assert run("check", tmp_path, "--tables").exit_code == 0
    error = failure("check", tmp_path)
    assert "no usable patient" in str(error)
    assert "has no landmarks" in run("check", tmp_path).output


def _bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9999)))


@pytest.mark.parametrize(
    ("content", "reason"), [(_bomb(), "25 Mpx"), (b"\xff\xd8\xff\xe0 no jpeg", "corrupt"), (b"", "empty file")]
)
def test_hostile_photos_are_refused_and_nothing_stays(tmp_path: Path, content: bytes, reason: str) -> None:
    write_folder(tmp_path / "clinic")
    for path in (tmp_path / "clinic").glob("*.png"):
        path.write_bytes(content + (path.name.encode() if content else b""))
    before = sorted(tmp_path.rglob("*"))
    result = run("import", tmp_path / "clinic", "--out", tmp_path / "out")
    assert isinstance(result.exception, PhenofedError)
    assert result.exception.exit_code == 4
    assert reason in result.output + str(result.exception)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("photo,patient\nface 0.png,P-0\n", "no column 'syndrome'"),
        ("photo,patient,syndrome\nnone.png,P-0,x\n", "no usable row"),
    ],
)
def test_wrong_tables_are_one_line_and_nothing_stays(tmp_path: Path, table: str, message: str) -> None:
    write_folder(tmp_path / "clinic").write_text(table)
    error = failure("import", tmp_path / "clinic", "--out", tmp_path / "out")
    assert message in str(error)
    assert error.exit_code == 4
    assert not (tmp_path / "out").exists()


def test_strict_import_stores_nothing_where_anything_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "clinic", patients=6)
    (tmp_path / "clinic" / "face 0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert failure("import", tmp_path / "clinic", "--out", tmp_path / "out", "--strict").exit_code == 4
    assert not (tmp_path / "out").exists()
    assert run("import", tmp_path / "clinic", "--out", tmp_path / "out").exit_code == 0
    assert len(store.load(tmp_path / "out").refused) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["/no/such/place"], 4, "does not exist"),
        (["{}", "--purposes", "sell"], 3, "'sell' is no purpose"),
        (["{}", "--expires", "soon"], 3, "'soon' is no date"),
        (["{}", "--detector", "net.onnx"], 6, "without --detector-sha256"),
        (["{}", "--detector", "net.onnx", "--detector-sha256", "00"], 6, "cannot read the face detector"),
        (["{}"], 4, "no cohort that is known here"),
    ],
)
def test_wrong_arguments_end_in_their_code(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    if "--detector-sha256" in arguments:
        write_folder(tmp_path)
    error = failure("check", *(argument.format(tmp_path) for argument in arguments))
    assert error.exit_code == code
    assert message in str(error)


def test_text_of_a_cohort_cannot_steer_the_terminal(tmp_path: Path) -> None:
    layout = write_gmdb(tmp_path / "gmdb")
    with layout.table("val").open("a") as file:
        file.write("[bold]8[/bold],108,71\n\x1b[2J,1,1\n")
    output = run("check", layout.root, "--tables").output
    assert "[bold]8[/bold] has no file" in output
    assert "\x1b" not in output


def test_help_teaches(tmp_path: Path) -> None:
    output = run("check", "--help").output
    for word in ("gmdb", "phenopackets", "--partition", "--detector-sha256", "Exit codes"):
        assert word in output
