"""What is wrong with a settings file, in words: one text a problem, a near miss named with what was meant.

policy, problems, dropped = parse_partly(data, Policy)    the rest at its defaults, to look at further
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[str, ...]


def described(error: ValidationError, kind: type[BaseModel]) -> list[str]:
    """Every problem of a validation."""
    found = error.errors()
    # Items that were refused are not missing from their list as well.
    within = {problem["loc"][:-1] for problem in found}
    told = [problem for problem in found if problem["type"] != "too_short" or problem["loc"] not in within]
    return list(dict.fromkeys(_describe(problem, kind) for problem in told))


def parse_partly(data: Mapping[str, Any], kind: type[Model]) -> tuple[Model, list[str], frozenset[str]]:
    """``data`` as ``kind`` with its wrong keys left out, every problem, and (dotted) the keys left out.

    ``kind`` must be whole without any key. Relations between keys can so be looked at beside the problems.
    """
    left = {key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()}
    problems: list[str] = []
    dropped: set[str] = set()
    while True:
        try:
            return kind.model_validate(left), problems, frozenset(dropped)
        except ValidationError as error:
            # What only misses a key that was dropped before is no problem of the file.
            found = described(error, kind) if not problems else []
            problems += found
            for problem in error.errors():
                dropped.add(_drop(left, [str(part) for part in problem["loc"]]))


def _drop(left: dict[str, Any], place: list[str]) -> str:
    """Take a wrong key out of its section, or the whole section where that does not help."""
    section = left.get(place[0]) if place else None
    if isinstance(section, dict) and len(place) > 1 and place[1] in section:
        del section[place[1]]
        return ".".join(place[:2])
    left.pop(place[0], None) if place else left.clear()
    return place[0] if place else ""


def _describe(problem: Any, kind: type[BaseModel]) -> str:
    place = tuple(str(part) for part in problem["loc"])
    key = ".".join(place) or "(whole file)"
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'{_meant(place, kind)}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"'{key}': {message[:1].lower()}{message[1:]}"


def _meant(place: Place, kind: type[BaseModel]) -> str:
    for section in _sections(kind, place[:-1]):
        near = difflib.get_close_matches(place[-1].lower(), section.model_fields, n=1)
        if near:
            return f" (did you mean '{'.'.join((*place[:-1], near[0]))}'?)"
    # Perhaps the key of another section, or one that stands too deep or not deep enough.
    elsewhere = [f"'{'.'.join(found)}'" for found in _keys(kind) if found[-1] == place[-1]]
    return f" (did you mean {' or '.join(elsewhere)}?)" if 1 <= len(elsewhere) <= 3 else ""


def _sections(kind: type[BaseModel], place: Sequence[str]) -> list[type[BaseModel]]:
    """The settings classes that may stand at ``place``."""
    found = [kind]
    for part in place:
        fields = [section.model_fields[part] for section in found if part in section.model_fields]
        found = [inner for field in fields for inner in _classes(field.annotation)]
    return found


def _keys(kind: type[BaseModel], before: Place = ()) -> Iterator[Place]:
    for name, field in kind.model_fields.items():
        yield (*before, name)
        for inner in _classes(field.annotation):
            yield from _keys(inner, (*before, name))


def _classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for inner in typing.get_args(annotation) for found in _classes(inner)]
