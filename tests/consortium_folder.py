"""A consortium on disk for the tests, made by the commands that people use. Keys are sealed with key files."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from client import cli as silo
from common.consortium.words import fingerprint_words, key_fingerprint
from common.errors import PhenofedError
from deploy import cli as consortium
from deploy.folder import ConsortiumFolder

NAMES = ["east", "north", "south", "west"]
SYNDROMES = (
    "OMIM:122470,Cornelia de Lange syndrome 1,ORPHA:199,NIPBL,PS122470,",
    "OMIM:194050,Williams syndrome,ORPHA:904,ELN,,",
    "OMIM:180849,Rubinstein-Taybi syndrome 1,ORPHA:783,CREBBP,PS180849,",
    "OMIM:147920,Kabuki syndrome 1,ORPHA:2322,KMT2D,PS147920,",
)


def command(*arguments: object) -> Result:
    """Run ``phenofed`` with the commands of operators and hospitals, with nobody at the keyboard."""
    app = typer.Typer()
    app.callback()(lambda: None)
    consortium.register(app)
    silo.register(app)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    """What a command that must succeed prints."""
    result = command(*arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


def refusal(*arguments: object) -> PhenofedError:
    """The error of a command that must be refused: one line, with a remedy."""
    error = command(*arguments).exception
    assert isinstance(error, PhenofedError), error
    assert error.remedy
    assert "\n" not in str(error)
    return error


def write_table(path: Path, rows: Sequence[str] = SYNDROMES) -> Path:
    """A registry's CSV file."""
    path.write_text("\n".join(["key,name,identifiers,genes,group,was", *rows]) + "\n")
    return path


def found_consortium(folder: Path, *, relay: str = "127.0.0.1:9443") -> Path:
    """The operator's folder of a consortium with a registry and without members."""
    operator = folder / "operator"
    done(
        "consortium", "init", operator, "--name", "trial", "--relay", relay, "--key-file", folder / "operator.key"
    )
    done("consortium", "registry", operator, "--from", write_table(folder / "syndromes.csv"))
    return operator


def add_silo(folder: Path, name: str) -> Path:
    """The workspace of a new member that has joined; beside it lies its key file."""
    workspace, operator = new_silo(folder, name, name), folder / "operator"
    done("consortium", "add", operator, workspace / "request.json", "--yes")
    done("silo", "join", workspace, kit_of(folder, name), "--yes")
    return workspace


def make_consortium(
    folder: Path, names: Sequence[str], *, relay: str = "127.0.0.1:9443"
) -> tuple[dict[str, Path], Path]:
    """(workspace of each name, the relay's folder) of a consortium whose members all hold the newest roster."""
    operator = found_consortium(folder, relay=relay)
    workspaces = {name: add_silo(folder, name) for name in names}
    for workspace in workspaces.values():
        done("silo", "join", workspace, kit_of(folder, "everybody"))
    for name, workspace in workspaces.items():
        if others := [other for other in names if other != name]:
            done("silo", "members", "accept", workspace, *others, "--yes")
    return workspaces, operator / "relay"


def copy_consortium(made: Path, folder: Path) -> Path:
    """A copy that a test may change of what ``make_consortium`` put into ``made``."""
    shutil.copytree(made, folder)
    for path in (*folder.glob("*/consortium.json"), *folder.glob("*/workspace.json")):
        path.write_text(path.read_text().replace(str(made), str(folder)))
    return folder


def new_silo(folder: Path, place: str, name: str) -> Path:
    """The workspace of a hospital that has asked for nothing yet."""
    workspace, mail = folder / place, f"faces@{name}.example"
    done("silo", "init", workspace, "--name", name, "--contact", mail, "--key-file", folder / f"{place}.key")
    return workspace


def kit_of(folder: Path, name: str) -> Path:
    """The kit of a member, or the one for everybody."""
    return folder / "operator" / "kits" / f"{name}.zip"


def words_of(folder: Path) -> str:
    """The words of the offline key."""
    return fingerprint_words(key_fingerprint(ConsortiumFolder(folder / "operator").offline_key))
