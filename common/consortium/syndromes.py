"""The syndrome registry: what counts as one disorder, signed by the consortium's offline key.

The order of its entries is the order of the rows of every gallery. A row never moves: new entries are appended,
and an entry that is dropped stays as a retired row. ``lineage`` is the unit in which budgets are kept: it stays
when an entry is renamed, and the parts of a split share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, Field, ValidationError

from common.cohort.schema import CURIE
from common.config import Settings
from common.consortium.fields import Name, check_printable
from common.consortium.signed_file import Statement, check_follows, read_signed, refused, write_signed
from common.errors import ConfigError

KIND = "registry"
MAX_ENTRIES = 20_000

_GENES = ("GENE:", "HGNC:")


def _curie(text: str) -> str:
    if not CURIE.fullmatch(text):
        raise ValueError(f"'{text}' is no identifier such as OMIM:122470, ORPHA:199, MONDO:0007387 or GENE:NIPBL")
    return text


Key = Annotated[str, AfterValidator(check_printable), Field(min_length=1, max_length=64)]
Label = Annotated[str, AfterValidator(check_printable), Field(max_length=200)]
Identifiers = Annotated[tuple[Annotated[str, AfterValidator(_curie)], ...], Field(max_length=32)]


class Entry(Settings):
    """One row.

    ``key``: what labels it; ``identifiers``: OMIM, ORPHA, MONDO or a gene; ``group``: phenotypic series, or
    empty; ``lineage``: the budget's unit of account; ``formerly``: keys that it had before or took in;
    ``retired``: the row is empty from now on.
    """

    key: Key
    name: Label
    identifiers: Identifiers = ()
    genes: Annotated[tuple[Key, ...], Field(max_length=64)] = ()
    group: Annotated[str, AfterValidator(check_printable), Field(max_length=64)] = ""
    lineage: Key
    formerly: Annotated[tuple[Key, ...], Field(max_length=64)] = ()
    retired: bool = False


@dataclass(frozen=True)
class Registry:
    """One version of the registry. ``entries``: the rows, in their order; ``earlier``: see signed_file.

    Raises:
        ConfigError: a key stands twice; all such keys in one message.
    """

    consortium: str
    entries: tuple[Entry, ...]
    earlier: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        twice = sorted(key for key, count in Counter(e.key for e in self.entries).items() if count > 1)
        if twice:
            raise ConfigError(f"the registry has {', '.join(twice)} twice", remedy="give each disorder one key")

    @property
    def version(self) -> int:
        """Versions count from 1."""
        return self._statement.sequence

    @cached_property
    def digest(self) -> str:
        """(64 hexadecimal digits) what names this version; silos of different versions never sum."""
        return self._statement.digest

    @property
    def lineages(self) -> tuple[str, ...]:
        """The lineage of each row. Those of retired rows count on: a merge must not forget what was asked."""
        return tuple(entry.lineage for entry in self.entries)

    def row(self, label: str) -> int | None:
        """The row of a key, an earlier key or an identifier; None where none, several or a retired one has it."""
        rows = self._rows.get(label, ())
        return rows[0] if len(rows) == 1 and not self.entries[rows[0]].retired else None

    def match(self, key: str, identifiers: Iterable[str] = ()) -> int | None:
        """The row of a disorder that somebody else names: by key, else by identifiers that agree.

        Genes count only where nothing better is known, since several disorders may share one.
        """
        disorders = [name for name in identifiers if not name.startswith(_GENES)]
        genes = [name for name in identifiers if name.startswith(_GENES)]
        for names in ([key], disorders or genes):
            rows = {row for name in names if (row := self.row(name)) is not None}
            if rows:
                return rows.pop() if len(rows) == 1 else None
        return None

    def succeeded_by(self, entries: Iterable[Entry]) -> Registry:
        """The next version, with these rows."""
        return replace(self, entries=tuple(entries), earlier=(*self.earlier, self.digest))

    @cached_property
    def _rows(self) -> dict[str, tuple[int, ...]]:
        """Name -> rows: keys go before earlier keys, these before identifiers, and active rows before retired."""
        kinds = (lambda e: (e.key,), lambda e: e.formerly, lambda e: e.identifiers)
        found: dict[str, tuple[int, ...]] = {}
        for retired in (False, True):
            for names in kinds:
                layer: dict[str, tuple[int, ...]] = {}
                for row, entry in enumerate(self.entries):
                    for name in names(entry) if entry.retired == retired else ():
                        layer[name] = (*layer.get(name, ()), row)
                found = {**layer, **found}
        return found

    @property
    def _statement(self) -> Statement:
        body = {
            "consortium": self.consortium,
            "entries": [entry.model_dump(mode="json") for entry in self.entries],
        }
        return Statement(KIND, body, self.earlier)


def read_registry(content: bytes, pinned_key: bytes) -> Registry:
    """The registry in a file that the offline key ``pinned_key`` (32 bytes) signed.

    Raises:
        ConfigError: not signed by it, damaged, or written by a newer program.
    """
    statement = read_signed(content, pinned_key, kind=KIND)
    try:
        body = _Body.model_validate(statement.body)
        registry = Registry(body.consortium, body.entries, statement.earlier)
    except (ValidationError, ConfigError) as error:
        raise refused(KIND) from error
    if registry.digest != statement.digest:
        raise refused(KIND)
    return registry


def write_registry(registry: Registry, key: Ed25519PrivateKey) -> bytes:
    """The signed file."""
    return write_signed(registry._statement, key)


def follows(old: Registry, new: Registry) -> None:
    """Check that ``new`` is ``old`` or came from it, and that no row moved, vanished or changed its lineage.

    Raises:
        ConfigError: it is another consortium's, older, a fork, or moves rows.
    """
    if old.consortium != new.consortium:
        raise ConfigError(
            f"the registry is that of {new.consortium}, not of {old.consortium}", remedy="use another workspace"
        )
    check_follows(old._statement, new._statement)
    check_rows(old, new)


def check_rows(old: Registry, new: Registry) -> None:
    """Check that no row moved, vanished or changed its lineage.

    Raises:
        ConfigError: one did.
    """
    if new.lineages[: len(old.entries)] != old.lineages:
        raise ConfigError(
            "the registry moves rows of the one held here", remedy="ask the operator; budgets are kept by row"
        )


class _Body(Settings):
    consortium: Name
    entries: Annotated[tuple[Entry, ...], Field(max_length=MAX_ENTRIES)]
