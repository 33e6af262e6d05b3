"""How an agent stands at one moment, in figures."""

from __future__ import annotations

import datetime
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from client.relay.speaking import unfit
from common.consortium.certificates import read_certificate
from common.consortium.words import fingerprint_words, key_fingerprint
from common.versions import SOFTWARE

if TYPE_CHECKING:
    from client.agent import Agent
    from client.relay.link import RelayLink
    from client.workspace.workspace import Workspace


@dataclass(frozen=True)
class Snapshot:
    """One agent.

    Attributes:
        present: other silos that are connected.
        epoch: number of the newest gallery epoch; None where none is open.
        epoch_seconds: since it was taken in.
        left_to_ask: questions; None without a budget.
        remaining: questions that each querier of a year has left here, for the syndrome that ends first.
        waiting: members that were not accepted.
    """

    connected: bool
    present: int
    epoch: int | None
    epoch_seconds: float | None
    left_to_ask: int | None
    remaining: dict[str, int]
    restarts: int
    certificate_days: float
    waiting: int


def snapshot(agent: Agent) -> Snapshot:
    """The agent's figures now.

    Raises:
        PhenofedError: its workspace became unreadable.
    """
    standing, current = agent.standing(), agent.epochs.current
    profile = standing.granted(current.profile if current else standing.floor)
    left = agent.ledger.left_to_ask(current.lineages(standing) if current else (), profile)
    return Snapshot(
        connected=agent.link.connected,
        present=len(agent.link.present()),
        epoch=current.epoch.number if current else None,
        epoch_seconds=time.time() - agent.epochs.opened_at if current else None,
        left_to_ask=None if left == sys.maxsize else left,
        remaining={item.querier: item.remaining for item in agent.ledger.forecast(profile)},
        restarts=agent.workers.restarts,
        certificate_days=certificate_days(agent.workspace),
        waiting=len(standing.strangers),
    )


def documents_status(agent: Agent) -> dict[str, Any]:
    """Which roster and registry the silo goes by, under which offline key, and when the relay was last asked."""
    standing, looked = agent.standing(), agent.follower.looked
    return {
        "roster": standing.roster.sequence,
        "registry": standing.registry.version,
        "offline_key": fingerprint_words(key_fingerprint(agent.workspace.offline_key)),
        "follow": agent.policy.relay.follow,
        "looked": looked.isoformat(timespec="seconds") if looked else None,
        "complaint": agent.follower.complaint,
    }


def software_status(link: RelayLink) -> dict[str, Any]:
    """The releases of agent, relay and silos that are present, by name; and which silos' do not fit, and why."""
    hellos = {name: link.hello(name) for name in sorted(link.present())}
    return {
        "agent": SOFTWARE,
        "relay": link.relay.software if link.relay else None,
        "silos": {name: hello.software for name, hello in hellos.items()},
        "unfit": {name: why for name, hello in hellos.items() if (why := unfit(hello, name))},
    }


def certificate_days(workspace: Workspace) -> float:
    """Days until the silo's TLS certificate ends; below 0 afterwards."""
    certificate, _, _ = workspace.tls.read()
    end = read_certificate(certificate).not_valid_after_utc
    return (end - datetime.datetime.now(tz=datetime.UTC)).total_seconds() / 86400
