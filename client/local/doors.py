"""The agent's doors for people of its hospital: its own socket, and the clinic's where policy names one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from client.audit.answering import audited, turned_away
from client.local.clinic_door import for_clinic
from client.local.door import LocalServer
from client.local.requests import LocalRequests
from client.monitoring.observing import observed

if TYPE_CHECKING:
    from client.agent import Agent


def opened(agent: Agent) -> Iterator[LocalServer]:
    """The doors, open; to be closed by whoever asked for them.

    Raises:
        AgentError: another agent serves there, or a socket cannot be made.
    """
    handle, stranger = LocalRequests(agent).handle, turned_away(agent.audit)
    yield LocalServer(
        agent.workspace.socket_path, observed(agent.metrics, audited(agent.audit, handle)), stranger=stranger
    )
    clinic = agent.policy.clinic
    if clinic.socket is not None:
        answer = observed(agent.metrics, audited(agent.audit, for_clinic(handle)))
        yield LocalServer(clinic.socket, answer, group=clinic.group, stranger=stranger)
