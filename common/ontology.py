"""Identifiers of disorders and phenotypic features, as cohort files spell them -> as records hold them."""

from __future__ import annotations

import re

from common.cohort.schema import CURIE

_PREFIXES = {
    "MIM": "OMIM",
    "OMIM": "OMIM",
    "ORPHA": "ORPHA",
    "ORPHANET": "ORPHA",
    "MONDO": "MONDO",
    "HGNC": "HGNC",
    "GENE": "GENE",
}
_HPO = re.compile(r"^HP[:_](\d{7})\b", re.IGNORECASE | re.ASCII)
_SEPARATORS = re.compile(r"[;,|]")


def disorder_identifiers(text: str, *, default: str = "OMIM") -> tuple[str, ...]:
    """Identifiers such as OMIM:122470 in a cell that lists them with ``;``, ``,`` or ``|``; others are left out.

    Bare numbers belong to ``default``; Orphanet's spellings become ORPHA.
    """
    found: dict[str, None] = {}
    for part in _SEPARATORS.split(text):
        prefix, colon, local = part.strip().rpartition(":")
        if colon:
            prefix = _PREFIXES.get(prefix.strip().upper(), "")
        elif local.isascii() and local.removesuffix(".0").isdigit():
            prefix, local = default, local.removesuffix(".0")
        name = f"{prefix}:{local.strip()}"
        if prefix and CURIE.match(name):
            found[name] = None
    return tuple(found)


def hpo_terms(text: str) -> tuple[tuple[str, ...], int]:
    """(HPO identifiers of a cell, in order and once each; how many entries were none).

    Entries stand between ``;``, ``,`` or ``|``; a label may follow an identifier.
    """
    terms: dict[str, None] = {}
    unknown = 0
    for part in _SEPARATORS.split(text):
        entry = part.strip()
        match = _HPO.match(entry)
        if match:
            terms[f"HP:{match[1]}"] = None
        elif entry:
            unknown += 1
    return tuple(terms), unknown
