"""Flower in this process: a Grid that calls the ClientApp directly, one silo after the other.

No processes, sockets or serialisation stand between the loop and the silos, so that a run costs what its training
costs, and Ctrl-C and a debugger work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

import client.app
import server.app
from common.errors import PhenofedError, RunError
from common.federation import Coordination, SiloOperations
from server import checkpoints
from server.checkpoints import Checkpoint
from server.rounds import OnRound
from simulations.engines import OpenSilo

FIRST_NODE = 1000
CLIENT_FAILED = 2


class InlineGrid(Grid):
    """A Flower Grid over ``names``: node ``FIRST_NODE + i`` serves the i-th silo."""

    def __init__(self, app: ClientApp, names: Sequence[str]) -> None:
        self._app = app
        self._contexts = {
            FIRST_NODE + index: Context(
                run_id=1,
                node_id=FIRST_NODE + index,
                node_config={"silo": name},
                state=RecordDict(),
                run_config={},
            )
            for index, name in enumerate(names)
        }
        self._waiting: dict[str, Message] = {}
        self._sent = 0

    def set_run(self, run: Run) -> None:
        raise NotImplementedError("an inline grid serves the run that it was made for")

    @property
    def run(self) -> Run:
        raise NotImplementedError("an inline grid has no SuperLink and so no Run record")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue the messages; a silo works when its reply is pulled."""
        ids = []
        for message in messages:
            self._sent += 1
            # Flower's SuperLink sets the id on arrival; here nobody else does.
            message.metadata.__dict__["_message_id"] = f"message-{self._sent}"
            self._waiting[message.metadata.message_id] = message
            ids.append(message.metadata.message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for message_id in message_ids:
            if message_id in self._waiting:
                yield self._answer(self._waiting.pop(message_id))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return list(self.pull_messages(self.push_messages(messages)))

    def _answer(self, message: Message) -> Message:
        context = self._contexts[message.metadata.dst_node_id]
        try:
            return self._app(message, context)
        except PhenofedError as error:
            return Message(Error(CLIENT_FAILED, str(error)), reply_to=message)


def run_inline(run: Coordination, open_silo: OpenSilo, *, on_round: OnRound) -> Checkpoint:
    """Lead ``run`` over the silos that ``open_silo`` opens; each is opened once.

    Errors that are not ``PhenofedError`` are bugs and are raised as they are.
    """
    silos: dict[str, SiloOperations] = {}

    def silo(context: Context) -> SiloOperations:
        name = str(context.node_config["silo"])
        if name not in silos:
            silos[name] = open_silo(name)
        return silos[name]

    # Messages carry the identity of the process that makes them; a deployed app gets it from the SuperLink.
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    grid = InlineGrid(client.app.build(silo), run.silos)
    app = server.app.build(lambda context: run, on_round=on_round)
    app(grid, Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={}))
    checkpoint = checkpoints.read(run.folder)
    if checkpoint is None:
        raise RunError(f"the run left no checkpoint in {run.folder}", remedy="check that the plan has rounds")
    return checkpoint
