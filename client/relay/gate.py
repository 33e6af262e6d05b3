"""Before another hospital's message is looked at: a policy is in force, the sender accepted, the hour right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.relay.speaking import check_speaks
from client.workspace.hours import Activity
from client.workspace.members import check_accepted
from client.workspace.policy import InvalidPolicy, NotInForce

if TYPE_CHECKING:
    from client.agent import Agent

ASKED: dict[str, Activity] = {
    "keys.known": "rank",
    "keys.bring": "rank",
    "query": "rank",
    "discover.ask": "discover",
}
"""What hours are about: questions. Gallery epochs are prepared, and links told and accepted, at any time."""


def check_peer(agent: Agent, sender: str, topic: str) -> None:
    """Check that ``sender`` may ask about ``topic`` now; everything else is judged by whoever answers.

    Raises:
        DisclosureError: no policy is in force, ``sender`` was not accepted here, or it is outside hours.
        VersionError: ``sender`` runs a release that does not fit.
    """
    try:
        strangers = agent.standing().strangers
    except InvalidPolicy as error:
        raise NotInForce(agent.workspace.name) from error
    check_accepted(sender, strangers)
    check_speaks(agent.link.hello(sender), topic, sender)
    activity = ASKED.get(topic)
    if activity is not None:
        agent.policy.hours.check(activity, agent.now(), silo=agent.workspace.name)
