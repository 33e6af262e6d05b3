"""Links of several partners, joined: patients here and elsewhere who may share a disorder.

A cluster is a connected component of the graph of links. This hospital's own patients join what different partners
offered; whether two pseudonyms of two partners are one patient, nobody can tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from client.discovery.links import Link


@dataclass(frozen=True)
class Cluster:
    """One component, its links the most similar first."""

    patients: tuple[str, ...]
    partners: tuple[str, ...]
    links: tuple[Link, ...]


COLUMNS = ("cluster", "patient", "hospital", "their patient", "similarity", "state", "link")


def clusters(links: Iterable[Link]) -> list[Cluster]:
    """Components of the links that nobody declined, the one with most hospitals first, then most links."""
    neighbours: defaultdict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    kept = [link for link in links if not link.declined]
    for link in kept:
        here, there = ("", link.patient), (link.partner, link.theirs)
        neighbours[here].add(there)
        neighbours[there].add(here)
    found, seen = [], set[tuple[str, str]]()
    for start in sorted(neighbours):
        if start in seen:
            continue
        reached, open_ends = {start}, [start]
        while open_ends:
            new = neighbours[open_ends.pop()] - reached
            reached |= new
            open_ends += new
        seen |= reached
        found.append(_cluster(reached, kept))
    return sorted(found, key=lambda cluster: (-len(cluster.partners), -len(cluster.links), cluster.patients))


def table(links: Iterable[Link]) -> list[tuple[str, ...]]:
    """A row a link, under ``COLUMNS``. The first pseudonym digits stand for the other hospital's patient."""
    return [
        (str(number), link.patient, link.partner, link.theirs[:8], f"{link.similarity:.2f}", link.state, link.name)
        for number, cluster in enumerate(clusters(links), 1)
        for link in cluster.links
    ]


def _cluster(reached: set[tuple[str, str]], links: list[Link]) -> Cluster:
    inside = [link for link in links if ("", link.patient) in reached]
    inside.sort(key=lambda link: (-link.similarity, link.name))
    return Cluster(
        patients=tuple(sorted({link.patient for link in inside})),
        partners=tuple(sorted({link.partner for link in inside})),
        links=tuple(inside),
    )
