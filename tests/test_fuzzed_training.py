"""Malformed requests at the agent's training socket, as a Flower client with foreign code would send them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from client.audit.answering import training_note
from client.audit.opening import open_log
from client.local.door import LocalServer, call
from client.plans.deciding import SOCKET
from client.training.desk import TrainingDesk
from client.training.forwarding import AgentSilo
from client.workspace.workspace import Workspace
from common.errors import AgentError
from common.records import Question, Refusal, SiloDescription, TrainRequest, Update
from server.training.led_run import LedRun, begin_run
from simulations.weights import THIN
from tests.hostile_bytes import Hostile, count
from tests.test_fuzzed_endpoints import all_at_once, audit_lines, framed, raw, unframed
from tests.training_hospitals import NAMES, approve, found_trainers, sign_plan, workspace
from tests.unharmed import bounded, state_of


@dataclass
class Trial:
    """A hospital that approved a run, and what the coordinator would ask of it."""

    space: Workspace
    run: LedRun

    @property
    def path(self) -> Path:
        return self.space.folder / SOCKET

    @property
    def state(self) -> dict[str, str]:
        return state_of(self.space.folder, without=("audit",))

    def request(self) -> TrainRequest:
        led = self.run.coordination()
        return TrainRequest(led.run, 1, led.seed, led.model, led.plan, led.initial, led.digest)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    folder = found_trainers(tmp_path_factory.mktemp("t") / "t")
    signed = sign_plan(folder)
    approvals = [approve(folder, name, signed) for name in NAMES]
    run = begin_run(folder / "operator" / "relay", signed, approvals, backbone=THIN, parent=None)
    space = workspace(folder, NAMES[0])
    desk = TrainingDesk(space, policy=space.policy, note=training_note(open_log(space, sealing=True)))
    server = LocalServer(space.folder / SOCKET, desk.handle)
    yield Trial(space, run)
    server.close()


def question(trial: Trial) -> Question:
    return Question(trial.run.plan.run, trial.run.plan.digest, nonce="a1", node="1000")


def test_nothing_that_a_node_sends_trains_a_round_that_nobody_planned(trial: Trial) -> None:
    hostile, request = Hostile(3), trial.request()
    values = {key: value for key, value in vars(request).items() if key != "parameters"}
    train = json.loads(json.dumps({"operation": "train", **values}))
    describe = {"operation": "describe", **vars(question(trial))}
    good, tensors = save(dict(request.parameters)), dict(request.parameters)
    name = max(tensors, key=lambda path: tensors[path].size)
    spoilt = [
        b"",
        good[: len(good) // 2],
        good[8:],
        save({name: tensors[name] * np.float32(np.nan)}),
        save({name: np.zeros((3, 3), np.float32)}),
        save({**tensors, "more": np.zeros(1, np.float32)}),
        save({**tensors, name: tensors[name].astype(np.float64)}),
        save({**tensors, name: tensors[name][..., :1]}),
        b"\xff" * 8 + good[8:],
    ]
    asked = []
    for _ in range(count(600)):
        how, arrays = hostile.rng.randrange(8), hostile.pick(*spoilt, hostile.noise(), hostile.damaged(good[:400]))
        if how == 0:
            asked.append(hostile.noise())
        elif how == 1:
            asked.append(hostile.damaged(framed(json.dumps(train).encode(), good[:300])))
        elif how == 2:
            asked.append(framed(*hostile.shuffled([json.dumps(train).encode(), arrays])))
        elif how == 3:
            asked.append(framed(json.dumps(train).encode(), arrays))
        elif how == 4:
            asked.append(framed(hostile.text(describe)))
        else:
            asked.append(framed(hostile.text(train), arrays))
    before, noted = trial.state, len(audit_lines(trial.space.folder))
    with bounded(megabytes=96):
        answers = all_at_once(lambda content: raw(trial.path, content), asked)
    for content, answer in zip(asked, answers, strict=True):
        assert b"failed over the request" not in answer, content[:300]
        if answer and b'"refused"' not in (head := unframed(answer)[0]):
            # A question that is asked properly by chance is answered: it trains nothing.
            assert b'"error"' in head or b'"patients"' in head, content[:300]
    assert trial.state == before
    events = {line.event for line in audit_lines(trial.space.folder)[noted:] if line.outcome == "done"}
    assert events <= {"training.described"}
    assert isinstance(AgentSilo(trial.path).describe(question(trial)), SiloDescription)


@pytest.mark.parametrize("changes", [{"round": 1.0}, {"round": True}, {"seed": 0.0}, {"run": ["spring"]}])
def test_a_value_of_another_type_is_no_other_spelling_of_a_round(trial: Trial, changes: dict[str, Any]) -> None:
    request = trial.request()
    values = {key: value for key, value in vars(request).items() if key != "parameters"}
    before = trial.state
    with pytest.raises(AgentError, match="values that do not fit"):
        call(trial.path, "train", values | changes, [save(dict(request.parameters))])
    assert trial.state == before
    assert audit_lines(trial.space.folder)[-1].outcome == "refused"


def test_weights_that_do_not_fit_use_up_nothing_of_a_round(trial: Trial) -> None:
    request = trial.request()
    before, silo = trial.state, AgentSilo(trial.path)
    for size in (1, 2, 3, 4, 5):
        answer = silo.train(TrainRequest(**(vars(request) | {"parameters": {"x": np.zeros(size, np.float32)}})))
        assert isinstance(answer, Refusal)
        assert "do not fit the model" in answer.reason
    assert trial.state == before
    assert isinstance(silo.train(request), Update)
