"""A silo as the Flower client sees it: two typed operations, forwarded to the agent's training socket.

This process runs what the coordinator's app bundle names, so it holds nothing. Weights cross the socket as
safetensors, everything else as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from client.local.door import Reply, exchange
from client.local.greeting import NotUnderstood
from common.errors import AgentError
from common.records import Parameters, Question, Refusal, SiloDescription, TrainRequest, Update
from common.versions import BEFORE, OWN

SOCKET = "PHENOFED_TRAINING_SOCKET"
"""Environment variable of the Flower node: where the agent listens for it."""

DESCRIBE, TRAIN = "describe", "train"


class AgentSilo:
    """The silo behind the agent's training socket ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def describe(self, question: Question) -> SiloDescription | Refusal:
        """Who this is, signed, if the silo takes part in the run."""
        try:
            reply = exchange(self._path, DESCRIBE, question.values)
        except NotUnderstood:
            # An agent of before versions reads no hello, and does nothing with a question that has one.
            reply = exchange(self._path, DESCRIBE, replace(question, hello="").values, own=BEFORE)
        return _refusal(reply.values) or SiloDescription(**reply.values)

    def train(self, request: TrainRequest) -> Update | Refusal:
        """One round, trained and signed by the agent."""
        # Where version 1 was agreed on, the agent may be such a one.
        own = OWN if request.protocol > 1 else BEFORE
        reply = exchange(self._path, TRAIN, request.values, [_written(request.parameters)], own=own)
        return _refusal(reply.values) or Update(**reply.values, delta=_arrays(reply))


def told(answer: SiloDescription | Update | Refusal) -> Reply:
    """The agent's side of it: an answer as it crosses the socket."""
    return Reply(answer.values, [_written(answer.delta)] if isinstance(answer, Update) else ())


def _written(parameters: Parameters) -> bytes:
    # The difference of two arrays without dimensions is no array any more.
    return save({path: np.asarray(value, np.float32, order="C") for path, value in parameters.items()})


def _refusal(values: Mapping[str, Any]) -> Refusal | None:
    return Refusal(values["silo"], values["refused"], values.get("hello", "")) if "refused" in values else None


def _arrays(reply: Reply) -> dict[str, Any]:
    try:
        (content,) = reply.attachments
        return load(content)
    except (ValueError, SafetensorError) as error:
        raise AgentError(
            "the agent's answer has no arrays", remedy="run the same version on both sides"
        ) from error
