"""Settings files: YAML read safely, overridden by ``key=value``, checked as a whole.

    settings = load(Path("scenario.yaml"), Scenario, overrides=["rounds=3", "cohort.path=/data"])

A file larger than 1 MiB, with aliases (alias bombs) or with a key twice is refused. Every problem of a file is
reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from common.config_problems import described
from common.errors import ConfigError

MAX_BYTES = 1 << 20

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Base of every settings class: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load(path: Path, kind: type[Model], *, overrides: Iterable[str] = ()) -> Model:
    """Read ``path`` as ``kind``, after setting each ``dotted.key=value``.

    Raises:
        ConfigError: the file cannot be read, is not plain YAML, or does not fit; all problems in one message.
    """
    return parse(override(read_yaml(path), overrides), kind, origin=str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})", remedy="check the path") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"{path} is larger than {MAX_BYTES} bytes", remedy="settings are short; is this the file?"
        )
    try:
        # _PlainLoader is a SafeLoader: it builds no Python objects.
        data = yaml.load(content, Loader=_PlainLoader)  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        place = f"{path}:{where.line + 1}" if where else str(path)
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise ConfigError(f"{place}: {problem}", remedy="mend the YAML") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no 'key: value' pairs", remedy="see simulations/scenarios for examples")
    return data


def override(data: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of ``data`` with every ``dotted.key=value`` set; values are read as YAML scalars or lists."""
    result = _copy(data)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"'{assignment}' is no override", remedy="write --set key=value")
        *parents, last = key.strip().split(".")
        target = result
        for parent in parents:
            if target.get(parent) is None:
                target[parent] = {}
            target = target[parent]
            if not isinstance(target, dict):
                raise ConfigError(
                    f"--set {key}: '{parent}' is a plain value", remedy="name a key inside a section"
                )
        try:
            target[last] = yaml.load(text, Loader=_PlainLoader)  # noqa: S506
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}: '{text}' is no value", remedy="quote the text") from error
    return result


def parse(data: Mapping[str, Any], kind: type[Model], *, origin: str) -> Model:
    """Check ``data`` against ``kind``; ``origin`` names it in the message.

    Raises:
        ConfigError: one message that lists every problem.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = described(error, kind)
        raise ConfigError(f"{origin}: {'; '.join(problems)}", remedy="mend the named keys") from error


def _copy(data: Any) -> Any:
    return {key: _copy(value) for key, value in data.items()} if isinstance(data, Mapping) else data


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases and without repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool) or key in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key}' stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
