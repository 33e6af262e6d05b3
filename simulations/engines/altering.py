"""Flower in this process, with replies that something on their way alters, withholds or repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

import client.app
from common.federation import Coordination
from common.records import TrainRequest
from server.checkpoints import Checkpoint
from server.rounds import run_rounds
from simulations.engines import OpenSilo
from simulations.engines.inline import InlineGrid

Replies = Callable[[str, TrainRequest, RecordDict], list[RecordDict]]
"""What arrives in place of a silo's reply to a request for training: nothing, another, or several."""


class AlteringGrid(InlineGrid):
    """An inline grid in which ``replies`` stands between silos and coordinator; questions pass as they are."""

    def __init__(self, app: ClientApp, names: Sequence[str], replies: Replies) -> None:
        super().__init__(app, names)
        self._replies = replies

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As they come, after what becomes of them."""
        for number in message_ids:
            message = self._waiting.get(number)
            if message is None:
                continue
            silo = str(self._contexts[message.metadata.dst_node_id].node_config["silo"])
            for reply in list(super().pull_messages([number])):
                if message.metadata.message_type != "train.round" or reply.has_error():
                    yield reply
                    continue
                request = TrainRequest.from_record(message.content)
                for record in self._replies(silo, request, reply.content):
                    yield Message(record, reply_to=message)


def run_altered(run: Coordination, open_silo: OpenSilo, replies: Replies) -> Checkpoint:
    """Lead ``run`` over the silos that ``open_silo`` opens, while ``replies`` does what it does."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1

    def opened(context: Context) -> object:
        return open_silo(str(context.node_config["silo"]))

    return run_rounds(AlteringGrid(client.app.build(opened), run.silos, replies), run)  # type: ignore[arg-type]


def with_note(record: RecordDict, text: str) -> RecordDict:
    """The message with another text; its arrays stay."""
    return RecordDict({**record, "note": ConfigRecord({"json": text})})


def note_of(record: RecordDict) -> str:
    """The text of a message."""
    return str(record.config_records["note"]["json"])


def without_form() -> RecordDict:
    """A message that has not the agreed form."""
    return RecordDict({"note": ConfigRecord({"json": "[]"})})
