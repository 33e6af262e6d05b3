"""Training in the agent: the socket for the Flower node, and the node itself unless it is a service of its own."""

from __future__ import annotations

import datetime
import functools
import logging
import threading
from collections.abc import Callable

from client.audit.answering import NO_GROUP
from client.local.door import LocalServer
from client.plans.deciding import NODE, socket_of
from client.training.desk import Note, TrainingDesk, log_note
from client.training.node import LOOK_SECONDS, serve
from client.workspace.hours import utc_now
from client.workspace.policy import InvalidPolicy, SiloPolicy
from client.workspace.workspace import Workspace
from common.errors import PhenofedError

LOG = logging.getLogger("phenofed.training")
CONNECTIONS = 4


class TrainingService:
    """Runs from its making until ``close``.

    Args:
        policy, today, now, note: as for ``TrainingDesk``.

    Raises:
        AgentError: the socket cannot be made.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        policy: Callable[[], SiloPolicy],
        today: Callable[[], datetime.date] = datetime.date.today,
        now: Callable[[], datetime.datetime] = utc_now,
        note: Note = log_note,
    ) -> None:
        self._node, self._policy = workspace.folder.resolve() / NODE, policy
        desk = TrainingDesk(workspace, policy=policy, today=today, now=now, note=note)
        stranger = functools.partial(_turned_away, note)
        held = policy()
        # One node with one round at a time; more than a few connections are not its own.
        self._server = LocalServer(
            socket_of(workspace, held),
            desk.handle,
            group=held.training.group,
            stranger=stranger,
            connections=CONNECTIONS,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_node, name="training node")
        self._thread.start()

    def close(self) -> None:
        """End the node, then the socket; a round that is being trained ends unheard."""
        self._stop.set()
        self._thread.join()
        self._server.close()

    def _keep_node(self) -> None:
        """Serve whenever there is a node to serve: the first approval makes it."""
        while not self._stop.wait(LOOK_SECONDS):
            try:
                if (self._node / "node.json").exists() and self._is_wanted():
                    serve(self._node, self._stop)
            except (PhenofedError, OSError) as error:
                LOG.error("the training node does not run: %s", error)

    def _is_wanted(self) -> bool:
        try:
            policy = self._policy()
        except InvalidPolicy:
            return False  # told once, by whoever keeps the policy
        return policy.allow.train and policy.training.node == "with-agent"


def _turned_away(note: Note, user: str) -> None:
    note("training.stranger", {"user": user, "reason": "in no group of the policy", "why": NO_GROUP})
