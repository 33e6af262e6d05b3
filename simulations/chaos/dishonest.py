"""Dishonest updates: what a node, a hospital or a network may make of an honest one. Never used for honest nodes.

``altered`` works on an update, for a hospital whose own key signs or whose node tampers; ``Middleman`` stands
where a dishonest node asks, between it and its agent.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from client.local.door import LocalServer, Reply, Request, exchange
from client.training.forwarding import TRAIN
from common.consortium.identity import Member
from common.records import Parameters, Update
from simulations.chaos.ground import BIG

EXTRA_BYTES = 8 << 20


def altered(kind: str, update: Update, member: Member, kept: list[Update]) -> Update:
    """The update as ``kind`` (see ``faults``) makes of it.

    Args:
        member: signs where the silo itself is dishonest.
        kept: earlier updates of this silo, the oldest first.
    """
    delta = dict(update.delta)
    name = max(delta, key=lambda path: delta[path].size)
    match kind:
        case "truncated":
            return replace(update, delta={**delta, name: delta[name].reshape(-1)[:-7]})
        case "bit flipped":
            return replace(update, delta={**delta, name: _flipped(delta[name])})
        case "older round":
            return kept[0] if kept else replace(update, round=update.round - 1)
        case "other run":
            return kept[0] if kept else _signed(replace(update, run="another"), delta, member)
        case "not a number":
            value = delta[name].copy()
            value.reshape(-1)[0] = np.nan
            return _signed(update, {**delta, name: value}, member)
        case "wrong shape":
            return _signed(update, {**delta, name: delta[name].T.reshape(1, -1)}, member)
        case "oversize":
            return _signed(update, {**delta, name: delta[name] + np.float32(BIG)}, member)
        case "unknown parameter":
            return _signed(update, {**delta, "more": np.ones(EXTRA_BYTES // 4, np.float32)}, member)
        case "other silo":
            return replace(_signed(update, delta, member), silo="nobody")
    raise KeyError(kind)


class Middleman:
    """Answers at ``path`` as the agent at ``agent`` does, but for one round of a run.

    Args:
        kept: this silo's updates, which an "older round" is taken from; each honest one is added.
    """

    def __init__(self, path: Path, agent: Path, member: Member, kept: list[Update]) -> None:
        self._agent, self._member, self._kept = agent, member, kept
        self._altered: tuple[str, int] | None = None
        self.did = 0
        """Updates that were altered."""
        self._server = LocalServer(path, self._handle)

    def alter(self, kind: str, round: int) -> None:
        """Alter the update of that round."""
        self._altered = (kind, round)

    def close(self) -> None:
        """Stop answering."""
        self._server.close()

    def _handle(self, request: Request) -> Reply:
        reply = exchange(self._agent, request.operation, request.values, request.attachments)
        if request.operation != TRAIN or "refused" in reply.values:
            return reply
        honest = Update(**reply.values, delta=_read(reply.attachments[0]))
        kind, round = self._altered or ("", 0)
        made = reply
        if round == honest.round:
            self.did += 1
            made = _older(reply) if kind == "older peer" else self._made(kind, honest)
        self._kept.append(honest)
        return made

    def _made(self, kind: str, honest: Update) -> Reply:
        update = altered(kind, honest, self._member, self._kept)
        values = {key: value for key, value in vars(update).items() if key != "delta"}
        return Reply(values, [_written(update.delta)])


def _older(reply: Reply) -> Reply:
    """As an agent that neither counted photos nor signed would answer."""
    return Reply({k: v for k, v in reply.values.items() if k not in ("photos", "signature")}, reply.attachments)


def _flipped(value: Any) -> Any:
    content = bytearray(np.ascontiguousarray(value).tobytes())
    content[len(content) // 2] ^= 1
    return np.frombuffer(bytes(content), np.float32).reshape(value.shape)


def _signed(update: Update, delta: Parameters, member: Member) -> Update:
    made = replace(update, delta=delta)
    return replace(made, signature=member.sign(made.statement).hex())


def _read(content: bytes) -> Parameters:
    from safetensors.numpy import load

    return load(content)


def _written(delta: Parameters) -> bytes:
    from safetensors.numpy import save

    return save({path: np.asarray(value, np.float32, order="C") for path, value in delta.items()})
