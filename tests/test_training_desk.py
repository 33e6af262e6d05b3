"""Rounds over the agents' real sockets: who trains, what is refused, and that nothing else can be asked there."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context

import client.app
from client.local.door import call
from client.plans.deciding import SOCKET
from client.training.forwarding import SOCKET as VARIABLE
from client.training.forwarding import AgentSilo
from client.training.rounds import MOST_STARTS
from common.errors import AgentError, TrainingError
from common.records import Question, Refusal, SiloDescription, TrainRequest, Update
from server import checkpoints
from server.checkpoints import Checkpoint
from server.rounds import run_rounds
from server.training.led_run import LedRun
from simulations.engines.inline import InlineGrid, run_inline
from simulations.weights import THIN
from tests.agents import import_patients, set_policy
from tests.consortium_folder import done
from tests.training_desks import Trial, training_desks
from tests.training_hospitals import NAMES, TRAINED, found_trainers

SILENT: Callable[[Checkpoint], None] = lambda checkpoint: None  # noqa: E731


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_trainers(tmp_path_factory.mktemp("trainers") / "made")


@pytest.fixture
def trial(made: Path, tmp_path: Path) -> Iterator[Trial]:
    with training_desks(made, tmp_path / "c") as trial:
        yield trial


def led_by(trial: Trial, run: LedRun, connected: tuple[str, ...] = NAMES) -> Checkpoint:
    """The rounds of ``run`` over a grid to which all of ``connected`` belong."""

    def opened(context: Context) -> AgentSilo:
        return trial.silo(str(context.node_config["silo"]))

    return run_rounds(InlineGrid(client.app.build(opened), connected), run.coordination())


def test_a_run_over_the_sockets_trains_all_and_writes_a_release(trial: Trial) -> None:
    run = trial.begin()
    last = run_inline(run.coordination(), trial.silo, on_round=SILENT)
    assert [set(summary.losses) for summary in last.history] == [set(NAMES)] * 2
    assert (run.write_release() / "federated.manifest.json").exists()


def test_an_interrupted_run_goes_on_to_the_same_bits(trial: Trial) -> None:
    class Stop(Exception):
        pass

    def stop(checkpoint: Checkpoint) -> None:
        raise Stop

    run = trial.begin()
    began = run.checkpoint()
    whole = run_inline(run.coordination(), trial.silo, on_round=SILENT)
    checkpoints.write(run.path, began)
    with pytest.raises(Stop):
        run_inline(run.coordination(), trial.silo, on_round=stop)
    assert run.checkpoint().round == 1
    resumed = run_inline(run.coordination(), trial.silo, on_round=SILENT)
    assert resumed.round == 2
    assert all(np.array_equal(whole.parameters[path], resumed.parameters[path]) for path in whole.parameters)


def test_a_connected_silo_that_the_plan_does_not_name_gets_no_training_message(trial: Trial) -> None:
    run = trial.begin(*NAMES[:3], silos=list(NAMES[:3]))
    last = led_by(trial, run)
    assert [set(summary.losses) for summary in last.history] == [set(NAMES[:3])] * 2
    assert [event for event, _ in trial.noted[NAMES[3]]] == ["training.refused"]


def test_a_silo_that_takes_its_approval_back_gets_no_training_message(trial: Trial) -> None:
    run = trial.begin(go_on_with_at_least=3)
    done("silo", "plans", "refuse", trial.folder / NAMES[0], run.plan.run)
    last = led_by(trial, run)
    assert [set(summary.losses) for summary in last.history] == [set(NAMES[1:])] * 2
    assert trial.trained(NAMES[0]) == 0


def test_one_refusal_stops_a_run_that_asks_for_all(trial: Trial) -> None:
    run = trial.begin()
    done("silo", "plans", "refuse", trial.folder / NAMES[0], run.plan.run)
    with pytest.raises(TrainingError, match=r"3 of 4 silos take part.*clinic-a: nobody approved"):
        led_by(trial, run)
    assert sum(trial.trained(name) for name in NAMES) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"round": 3}, "in round"),
        ({"round": 0}, "in round"),
        ({"seed": 1}, "in seed"),
        ({"plan": {"rounds": 2}}, "in training"),
        ({"model": {"architecture": "thin"}}, "in model"),
        ({"digest": "0" * 64}, "another plan"),
        ({"run": "autumn"}, "no plan of a run"),
        ({"run": "../../spring"}, "no plan of a run"),
        ({"parameters": {"x": np.full(3, np.nan, np.float32)}}, "in parameters"),
        ({"parameters": {"x": np.zeros(3, np.float32)}}, "do not fit the model"),
    ],
)
def test_a_request_that_differs_from_the_plan_is_refused_and_noted(
    trial: Trial, changes: dict[str, Any], reason: str
) -> None:
    run = trial.begin()
    answer = trial.silo(NAMES[0]).train(replace(trial.request(run), **changes))
    assert isinstance(answer, Refusal)
    assert reason in answer.reason
    event, about = trial.noted[NAMES[0]][-1]
    assert (event, about["reason"]) == ("training.refused", answer.reason)


@pytest.mark.parametrize("gone", ["expired", "opted out", "other model"])
def test_a_plan_that_no_longer_holds_is_refused(trial: Trial, gone: str) -> None:
    run = trial.begin(expires="2026-12-31")
    if gone == "expired":
        trial.today = datetime.date(2027, 1, 1)
    elif gone == "opted out":
        set_policy(trial.folder / NAMES[0], allow={"train": False})
    else:
        other = {"architecture": "thin", "path": str(THIN), "sha256": "1" * 64}
        set_policy(trial.folder / NAMES[0], model={"release": "release", "backbone": other})
    answer = trial.silo(NAMES[0]).train(trial.request(run))
    assert isinstance(answer, Refusal)
    assert isinstance(trial.silo(NAMES[0]).describe(Question(run.plan.run, run.plan.digest)), Refusal)


def test_a_round_is_trained_on_few_models_and_on_each_as_often_as_asked(trial: Trial) -> None:
    run, silo = trial.begin(), trial.silo(NAMES[0])
    led = run.coordination()
    moved = [
        {path: np.asarray(value + np.float32(step), np.float32) for path, value in led.initial.items()}
        for step in range(MOST_STARTS + 1)
    ]
    answers = [silo.train(trial.request(run, parameters=parameters)) for parameters in moved]
    assert [type(answer) for answer in answers] == [Update] * MOST_STARTS + [Refusal]
    again = silo.train(trial.request(run, parameters=moved[0]))
    assert isinstance(again, Update)
    assert isinstance(answers[0], Update)
    assert again.statement == answers[0].statement


def test_updates_and_descriptions_bear_the_silos_signature_over_what_they_say(trial: Trial) -> None:
    run = trial.begin()
    card = run.roster.member(NAMES[0]).card
    update = trial.silo(NAMES[0]).train(trial.request(run))
    assert isinstance(update, Update)
    signature = bytes.fromhex(update.signature)
    assert card.verifies(signature, update.statement)
    for altered in (
        replace(update, patients=update.patients + 1),
        replace(update, round=2),
        replace(update, silo=NAMES[1]),
        replace(update, delta={path: value + np.float32(1) for path, value in update.delta.items()}),
    ):
        assert not card.verifies(signature, altered.statement)
    question = Question(run.plan.run, run.plan.digest, nonce="a1", node="1000")
    answer = trial.silo(NAMES[0]).describe(question)
    assert isinstance(answer, SiloDescription)
    signature = bytes.fromhex(answer.signature)
    assert card.verifies(signature, answer.statement(question))
    assert not card.verifies(signature, answer.statement(replace(question, nonce="a2")))
    assert not card.verifies(signature, answer.statement(replace(question, node="1001")))


def test_a_node_that_speaks_for_another_silo_is_passed_over_or_its_update_left_out(trial: Trial) -> None:
    run = trial.begin(go_on_with_at_least=3)

    class Impostor:
        """Says that it is clinic-a, with clinic-b's agent behind it."""

        def describe(self, question: Question) -> SiloDescription | Refusal:
            answer = trial.silo(NAMES[1]).describe(question)
            assert isinstance(answer, SiloDescription)
            return replace(answer, silo=NAMES[0])

        def train(self, request: TrainRequest) -> Update | Refusal:
            raise AssertionError("it was sent a round")

    def opened(context: Context) -> AgentSilo | Impostor:
        name = str(context.node_config["silo"])
        return Impostor() if name == NAMES[0] else trial.silo(name)

    last = run_rounds(
        InlineGrid(client.app.build(opened), NAMES), replace(run.coordination(), deadline_s=1.0, rounds=1)
    )
    assert last.history[0].excluded == {NAMES[0]: "not connected"}


def test_an_update_without_the_silos_signature_is_left_out(trial: Trial) -> None:
    run = trial.begin(go_on_with_at_least=3)

    class Forger(AgentSilo):
        def train(self, request: TrainRequest) -> Update | Refusal:
            answer = super().train(request)
            assert isinstance(answer, Update)
            return replace(answer, delta={path: -value for path, value in answer.delta.items()})

    def opened(name: str) -> AgentSilo:
        return Forger(trial.folder / name / SOCKET) if name == NAMES[0] else trial.silo(name)

    last = run_inline(replace(run.coordination(), rounds=1), opened, on_round=SILENT)
    assert last.history[0].excluded == {NAMES[0]: "it does not bear the silo's signature"}


def test_who_withdraws_is_in_no_later_round(trial: Trial) -> None:
    run, name = trial.begin(), NAMES[0]
    before = trial.silo(name).train(trial.request(run))
    left = {f"{name}-{number}": ("OMIM:122470", "OMIM:194050")[number % 2] for number in range(6)}
    import_patients(trial.folder / name, left, consent=lambda patient: TRAINED)
    after = trial.silo(name).train(trial.request(run))
    assert isinstance(before, Update)
    assert isinstance(after, Update)
    assert (before.patients, after.patients) == (8, 6)


@pytest.mark.parametrize(
    "operation", ["rank", "keys", "stop", "status", "look", "discover.links", "train.more", ""]
)
def test_the_training_socket_knows_nothing_but_training(trial: Trial, operation: str) -> None:
    with pytest.raises(AgentError, match="knows 'describe' and 'train'"):
        call(trial.folder / NAMES[0] / SOCKET, operation, {})
    assert trial.noted[NAMES[0]][-1][0] == "training.unknown"


@pytest.mark.parametrize(
    "values",
    [{}, {"run": 3}, {"run": "spring", "more": 1}, {"run": None, "plan": [], "nonce": {}, "node": 0}],
)
@pytest.mark.parametrize("operation", ["describe", "train"])
def test_malformed_requests_on_the_training_socket_change_nothing(
    trial: Trial, operation: str, values: dict[str, Any]
) -> None:
    trial.begin()
    with contextlib.suppress(AgentError):
        assert "refused" in call(trial.folder / NAMES[0] / SOCKET, operation, values, [b"no arrays"])
    assert trial.trained(NAMES[0]) == 0


def test_a_deployed_client_asks_its_agent_whatever_provider_a_run_names(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trial.begin()
    monkeypatch.setenv(VARIABLE, str(trial.folder / NAMES[0] / SOCKET))
    silo = client.app._by_provider(
        Context(run_id=1, node_id=1, node_config={}, state=None, run_config={"provider": "scenario"})  # type: ignore[arg-type]
    )
    answer = silo.describe(Question(run.plan.run, run.plan.digest))
    assert isinstance(answer, SiloDescription)
    assert answer.silo == NAMES[0]
