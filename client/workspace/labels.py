"""A hospital's own labels against the syndrome registry: what is mapped, and what stays out of the gallery.

``labels.yaml`` of the workspace holds ``own label: key of the registry`` and goes before everything else; next
come the label itself and the identifiers that the cohort gives for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from common.cohort.schema import Syndrome
from common.config import read_yaml
from common.consortium.syndromes import Registry
from common.errors import ConfigError
from common.storage import write_text


@dataclass(frozen=True)
class Labels:
    """``rows``: local label -> row of the registry; ``unmapped``: labels that have none, sorted."""

    rows: Mapping[str, int]
    unmapped: tuple[str, ...]


def read_labels(path: Path) -> dict[str, str]:
    """Own label -> key of the registry, as written down; empty where there is no file.

    Raises:
        ConfigError: the file is no such mapping.
    """
    if not path.exists():
        return {}
    found = read_yaml(path)
    wrong = [str(label) for label, key in found.items() if not isinstance(label, str) or not isinstance(key, str)]
    if wrong:
        raise ConfigError(
            f"{path}: {', '.join(wrong)}: labels and keys must be text", remedy="write them in quotes"
        )
    return found


def write_labels(path: Path, chosen: Mapping[str, str], registry: Registry) -> None:
    """Write the mapping.

    Raises:
        ConfigError: a key leads to no row of the registry; all in one message.
    """
    _rows(chosen, registry)
    comment = "# Own label: key of the syndrome registry. See phenofed silo labels.\n"
    content = yaml.safe_dump(dict(chosen), allow_unicode=True) if chosen else ""
    write_text(path, comment + content, private=True)


def map_labels(registry: Registry, syndromes: Iterable[Syndrome], chosen: Mapping[str, str]) -> Labels:
    """Where the labels of a cohort belong.

    Args:
        chosen: what the hospital wrote down (``read_labels``).

    Raises:
        ConfigError: a chosen key leads to no row of the registry; all in one message.
    """
    by_hand = _rows(chosen, registry)
    rows: dict[str, int] = {}
    unmapped = []
    for syndrome in syndromes:
        row = by_hand.get(syndrome.key)
        row = registry.match(syndrome.key, syndrome.identifiers) if row is None else row
        if row is None:
            unmapped.append(syndrome.key)
        else:
            rows[syndrome.key] = row
    return Labels(rows, tuple(sorted(unmapped)))


def _rows(chosen: Mapping[str, str], registry: Registry) -> dict[str, int]:
    found = {label: registry.row(key) for label, key in chosen.items()}
    lost = [f"{label}: {chosen[label]}" for label, row in found.items() if row is None]
    if lost:
        raise ConfigError(
            f"the registry (version {registry.version}) has no row for {'; '.join(lost)}",
            remedy="choose a key that phenofed silo labels lists",
        )
    return {label: row for label, row in found.items() if row is not None}
