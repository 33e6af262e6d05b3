"""Flower's ClientApp, thin: each message becomes one typed operation of the silo.

Imports neither torch nor common.models: a deployed client process starts for each message and forwards it to the
agent, which keeps them warm. There the launcher's environment says where the agent listens, and nothing that the
coordinator sends can name another provider.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.training.forwarding import SOCKET, AgentSilo
from common.federation import SiloOperations, provider
from common.records import Question, TrainRequest


def build(open_silo: Callable[[Context], SiloOperations]) -> ClientApp:
    """A ClientApp for the silo that ``open_silo`` opens."""
    client = ClientApp()

    @client.query("describe")
    def describe(message: Message, context: Context) -> Message:
        question = Question.from_record(message.content)
        return Message(open_silo(context).describe(question).to_record(), reply_to=message)

    @client.train("round")
    def train(message: Message, context: Context) -> Message:
        request = TrainRequest.from_record(message.content)
        return Message(open_silo(context).train(request).to_record(), reply_to=message)

    return client


def _by_provider(context: Context) -> SiloOperations:
    if socket := os.environ.get(SOCKET):
        return AgentSilo(Path(socket))
    return provider(str(context.run_config["provider"])).silo(context.run_config, context.node_config)


app = build(_by_provider)
