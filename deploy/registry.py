"""The next version of the syndrome registry out of tables and cohorts.

    key,name,identifiers,genes,group,was
    OMIM:122470,Cornelia de Lange syndrome 1,ORPHA:199,NIPBL,PS122470,
    OMIM:610759,Cornelia de Lange syndrome 3,,SMC3,PS122470,CdLS3

``was`` names earlier keys: one for a rename or the part of a split, several for a merge. A table is the whole
list: what it leaves out is retired. A cohort, one hospital's view, only adds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from common import ontology
from common.cohort.schema import CURIE
from common.cohort.tables import Row, read_rows
from common.consortium.syndromes import Entry, Registry
from common.errors import ConfigError

_SEPARATOR = re.compile(r"[;,|]")
_SHOWN = 10


@dataclass(frozen=True)
class Listed:
    """One disorder as a source lists it. ``was``: its earlier keys; ``where``: for messages."""

    key: str
    name: str
    where: str
    identifiers: tuple[str, ...] = ()
    genes: tuple[str, ...] = ()
    group: str = ""
    was: tuple[str, ...] = ()


def read_source(path: Path) -> tuple[list[Listed], bool]:
    """(what a source lists, whether it is the whole list): a CSV file, or a cohort that was imported.

    Raises:
        ConfigError: an identifier that is none; all in one message.
        CohortError: no table, or no cohort.
    """
    return (_from_table(path), True) if path.is_file() else (_from_cohort(path), False)


def revise(entries: Sequence[Entry], listed: Sequence[Listed], *, whole: bool) -> tuple[Entry, ...]:
    """The rows after taking in ``listed``; no row moves. ``whole``: retire what is not listed.

    Raises:
        ConfigError: a key stands twice, an earlier key is unknown, or a value does not fit; all in one message.
    """
    draft = _Draft(list(entries), {item.key for item in listed})
    for item in listed:
        draft.take(item, only_new=not whole)
    if draft.problems:
        more = f" and {len(draft.problems) - _SHOWN} more" if len(draft.problems) > _SHOWN else ""
        raise ConfigError("; ".join(draft.problems[:_SHOWN]) + more, remedy="mend the table; nothing was changed")
    return draft.finished(whole=whole)


class _Draft:
    def __init__(self, rows: list[Entry], keys: set[str]) -> None:
        self.rows, self.keys = rows, keys
        self.before = Registry("before", tuple(rows))
        self.row_of = {entry.key: row for row, entry in enumerate(rows)}
        self.taken: dict[int, str] = {}
        self.merged: set[int] = set()
        self.problems: list[str] = []

    def take(self, item: Listed, *, only_new: bool) -> None:
        if only_new and (self.before.match(item.key, item.identifiers) is not None or item.key in self.row_of):
            return
        sources = [self.row_of[key] for key in item.was if key in self.row_of]
        row = self._row_for(item, sources)
        past = self.rows[row].formerly if row < len(self.rows) else ()
        unknown = [key for key in item.was if key not in self.row_of and key not in past]
        if unknown or self.taken.get(row) == item.key:
            what = f"the registry has no {', '.join(unknown)}" if unknown else f"key {item.key} stands twice"
            self.problems.append(f"{item.where}: {what}")
            return
        parents = [self.rows[source] for source in sources]
        known = self.rows[row] if row < len(self.rows) else None
        older = [*(known.formerly if known else ()), *(key for e in parents for key in (e.key, *e.formerly))]
        try:
            entry = Entry(
                key=item.key,
                name=item.name,
                identifiers=item.identifiers,
                genes=item.genes,
                group=item.group,
                lineage=known.lineage if known else parents[0].lineage if parents else self._lineage(item.key),
                formerly=tuple(dict.fromkeys(key for key in older if key not in self.keys)),
            )
        except ValidationError as error:
            self.problems += [f"{item.where}: {p['loc'][0]}: {p['msg']}" for p in error.errors()]
            return
        self.rows[row : row + 1] = [entry]
        self.row_of[item.key], self.taken[row] = row, item.key
        self.merged |= {source for source in sources if source != row and self.rows[source].key not in self.keys}

    def finished(self, *, whole: bool) -> tuple[Entry, ...]:
        gone = self.merged | (set(range(len(self.rows))) - set(self.taken) if whole else set())
        retired = gone - set(self.taken)
        return tuple(
            entry.model_copy(update={"retired": True}) if row in retired else entry
            for row, entry in enumerate(self.rows)
        )

    def _row_for(self, item: Listed, sources: Sequence[int]) -> int:
        """Its own row; for a renamed disorder that of its first earlier key still free; else a new one."""
        if item.key in self.row_of:
            return self.row_of[item.key]
        free = [row for row in sources if row not in self.taken and self.rows[row].key not in self.keys]
        return free[0] if free else len(self.rows)

    def _lineage(self, key: str) -> str:
        """A new lineage; a key may have been another disorder's before."""
        used = {entry.lineage for entry in self.rows}
        return key if key not in used else f"{key[:50]}~{len(self.rows)}"


def _from_table(path: Path) -> list[Listed]:
    rows, refused = read_rows(
        path, name=path.name, required=("key", "name"), optional=("identifiers", "genes", "group", "was")
    )
    problems = [str(refusal) for refusal in refused]
    listed = []
    for row in rows:
        where = f"{row.file}:{row.line}"
        parts = _parts(row["identifiers"])
        wrong = [part for part in parts if not ontology.disorder_identifiers(part)]
        problems += [f"{where}: '{part}' is no identifier" for part in wrong]
        listed.append(_listed(row, where, [ontology.disorder_identifiers(p)[0] for p in parts if p not in wrong]))
    if problems:
        raise ConfigError("; ".join(problems[:_SHOWN]), remedy="mend the table; nothing was changed")
    return listed


def _listed(row: Row, where: str, identifiers: list[str]) -> Listed:
    own = [row["key"]] if CURIE.fullmatch(row["key"]) else []
    return Listed(
        key=row["key"],
        name=row["name"] or row["key"],
        where=where,
        identifiers=tuple(dict.fromkeys((*own, *identifiers))),
        genes=tuple(_parts(row["genes"])),
        group=row["group"],
        was=tuple(_parts(row["was"])),
    )


def _from_cohort(path: Path) -> list[Listed]:
    from common.cohort import store

    cohort = store.load(path).cohort
    return [
        Listed(syndrome.key, syndrome.name[:200], f"cohort {cohort.name}", syndrome.identifiers)
        for syndrome in cohort.syndromes
    ]


def _parts(cell: str) -> list[str]:
    return [part.strip() for part in _SEPARATOR.split(cell) if part.strip()]
