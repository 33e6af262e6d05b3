"""Settings files: overrides, hostile YAML, and all problems in one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import Settings, load, override
from common.errors import ConfigError


class Inner(Settings):
    size: int = 1


class Example(Settings):
    name: str
    rate: float = 0.1
    inner: Inner = Inner()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return path


def test_overrides_reach_nested_keys_and_keep_their_types(tmp_path: Path) -> None:
    path = written(tmp_path, "name: a\n")
    example = load(path, Example, overrides=["inner.size=7", "rate=2", "name=b=c"])
    assert (example.inner.size, example.rate, example.name) == (7, 2.0, "b=c")


def test_all_problems_come_in_one_message(tmp_path: Path) -> None:
    path = written(tmp_path, "rate: fast\ninner: {size: x, colour: red}\nsped: 1\n")
    with pytest.raises(ConfigError) as error:
        load(path, Example)
    for part in (
        "'name' is missing",
        "'rate'",
        "'inner.size'",
        "unknown key 'inner.colour'",
        "unknown key 'sped'",
    ):
        assert part in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("a: 1\na: 2\n", "stands twice"),
        ("a: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("a: [1\n", "expected"),
        ("- 1\n", "key: value"),
        ("", "key: value"),
        ("a: '" + "x" * (1 << 20) + "'", "larger"),
        ("? {a: 1}\n: 2\n", "stands twice"),
    ],
)
def test_hostile_or_broken_yaml_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(written(tmp_path, text), Example)


@pytest.mark.parametrize("text", ["\x00", "\udcff", "a: \x07"])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError):
        load(path, Example)


@pytest.mark.parametrize("assignment", ["novalue", "=1", "name.deeper=1", "a=[1"])
def test_an_override_that_cannot_be_is_refused(assignment: str) -> None:
    with pytest.raises(ConfigError):
        override({"name": "a"}, [assignment])


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "none.yaml", Example)
