"""The direction of dependencies: who may import whom, and where the heavy libraries may appear."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("common", "client", "server", "deploy", "simulations")
ALLOWED = {
    "common": {"common"},
    "client": {"client", "common"},
    "server": {"server", "common"},
    "deploy": {"deploy", "common"},
    "simulations": set(FOLDERS),
}
ONLY_IN = {
    "tenseal": ("common/encryption/",),
    "opacus": ("common/privacy/",),
    "grpc": ("server/relay/", "client/relay/"),
    "flwr": (
        *(
            "client/app.py",
            "client/training/flower_node.py",
            "server/training/flower_superlink.py",
            "server/app.py",
            "server/rounds.py",
        ),
        *("simulations/engines/", "common/records.py"),
    ),
}


def modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of what a file imports, wherever the statement stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: import by full name, not relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_folders_import_only_what_they_may(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & set(FOLDERS)
    assert ours <= ALLOWED[folder]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    for library in {name.split(".")[0] for name in imported(path)} & set(ONLY_IN):
        assert place.startswith(ONLY_IN[library]), f"{library} does not belong in {place}"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("client.app", ("torch", "common.models", "tenseal")),
        ("server.app", ("torch", "tenseal", "client")),
        ("server.relay.relay", ("common.encryption", "tenseal", "torch", "client")),
        ("common.records", ("flwr", "torch")),
        ("common.cli", ("torch", "flwr", "tenseal")),
    ],
)
def test_a_process_loads_only_what_it_needs(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.strip() == "[]"


def test_every_package_says_what_lives_there() -> None:
    for path in modules():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
