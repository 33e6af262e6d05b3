"""The agent's looks at the relay for newer rosters, registries and certificates, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.newest.judging import follow, held_documents
from client.newest.looking import Follower
from client.newest.noting import FollowingNote
from common.transport.documents import Documents

if TYPE_CHECKING:
    from client.agent import Agent


def follower_of(agent: Agent) -> Follower:
    """An agent's follower, to be started with its link. What it installs counts from the next request on."""
    workspace, note = agent.workspace, FollowingNote(agent.audit)

    def take(offered: Documents) -> list[str]:
        followed = follow(workspace, offered)
        note(followed)
        return [item.name for item in followed.refused]

    def wanted() -> bool:
        agent.standing()  # reads a policy that changed
        return agent.policy.relay.follow

    return Follower(agent.link, wanted=wanted, held=lambda: held_documents(workspace), take=take)
