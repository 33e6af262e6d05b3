"""What the hospital's own people may ask of the agent about discovery, over its local socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from client.discovery.clusters import clusters
from client.discovery.desk import DiscoveryDesk, Outcome
from client.discovery.links import Link
from client.local.door import Request

Operation = Callable[[Request], dict[str, Any]]


def operations(desk: DiscoveryDesk) -> dict[str, Operation]:
    """The operations by name."""
    requests = _Requests(desk)
    return {
        "discover.ask": requests.ask,
        "discover.links": requests.links,
        "discover.accept": requests.accept,
        "discover.refuse": requests.refuse,
        "discover.clusters": requests.clusters,
        "discover.remaining": requests.remaining,
    }


class _Requests:
    def __init__(self, desk: DiscoveryDesk) -> None:
        self._desk = desk

    def ask(self, request: Request) -> dict[str, Any]:
        values = request.values
        return self._outcome(self._desk.ask(str(values["partner"]), [str(name) for name in values["patients"]]))

    def links(self, request: Request) -> dict[str, Any]:
        return {"links": [_shown(link, contact) for link, contact in self._desk.links()]}

    def accept(self, request: Request) -> dict[str, Any]:
        return self._outcome(self._desk.accept(str(request.values["link"])))

    def refuse(self, request: Request) -> dict[str, Any]:
        return {"links": [_shown(self._desk.refuse(str(request.values["link"])), None)]}

    def clusters(self, request: Request) -> dict[str, Any]:
        found = self._desk.links()
        contacts = {link.name: contact for link, contact in found}
        return {
            "clusters": [
                {
                    "patients": list(cluster.patients),
                    "partners": list(cluster.partners),
                    "links": [_shown(link, contacts[link.name]) for link in cluster.links],
                }
                for cluster in clusters(link for link, _ in found)
            ]
        }

    def remaining(self, request: Request) -> dict[str, Any]:
        return {
            "patients": list(self._desk.patients()),
            "partners": [asdict(entry) for entry in self._desk.remaining()],
        }

    def _outcome(self, outcome: Outcome) -> dict[str, Any]:
        return {
            "links": [_shown(link, self._desk.contact(link)) for link in outcome.links],
            "untold": outcome.untold,
        }


def _shown(link: Link, contact: str | None) -> dict[str, Any]:
    return {
        "link": link.name,
        "patient": link.patient,
        "partner": link.partner,
        "their_patient": link.theirs,
        "similarity": link.similarity,
        "state": link.state,
        "contact": contact,
    }
