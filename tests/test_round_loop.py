"""Rounds: who is aggregated, who is refused and named, and that an interrupted run goes on to the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode

import client.app
from common.errors import RunError, TrainingError
from common.federation import Coordination
from common.records import Question, Refusal, SiloDescription, TrainRequest, Update
from server import checkpoints
from server.aggregation.gate import refusal
from server.aggregation.means import weighted_mean
from server.aggregation.reasons import GONE, RESTARTED, reason_of
from server.checkpoints import Checkpoint
from server.rounds import run_rounds
from simulations.engines.inline import FIRST_NODE, InlineGrid, run_inline

INITIAL = {"a.weight": np.zeros((2, 3), np.float32), "b": np.ones(2, np.float32)}


class FakeSilo:
    """Moves every parameter by its own step; ``spoil`` may change what it sends."""

    def __init__(self, name: str, spoil: Callable[[Update], Update | Refusal] = lambda update: update) -> None:
        self.name, self.spoil = name, spoil
        self.asked: list[int] = []

    def describe(self, question: Question) -> SiloDescription | Refusal:
        return SiloDescription(self.name, patients=4, photos=5, syndromes=2)

    def train(self, request: TrainRequest) -> Update | Refusal:
        self.asked.append(request.round)
        rng = np.random.default_rng([request.round, *self.name.encode()])
        delta = {
            path: rng.normal(size=value.shape).astype(np.float32) * (1 + np.float32(value.sum()) * 0)
            for path, value in request.parameters.items()
        }
        patients = 4 + len(self.name)
        return self.spoil(Update(request.run, request.round, self.name, delta, patients, patients + 1, loss=0.5))


def coordination(folder: Path, names: tuple[str, ...] = ("a", "b", "c"), **changes: object) -> Coordination:
    run = Coordination("test", 0, 3, names, {}, {}, INITIAL, folder, deadline_s=5.0)
    return replace(run, **changes)  # type: ignore[arg-type]


def lead(run: Coordination, silos: dict[str, FakeSilo], **options: object) -> Checkpoint:
    return run_inline(run, silos.__getitem__, on_round=lambda checkpoint: None, **options)  # type: ignore[arg-type]


def spoilt(**changes: object) -> Callable[[Update], Update]:
    return lambda update: replace(update, **changes)  # type: ignore[arg-type]


def nan(update: Update) -> Update:
    return replace(update, delta={path: np.full_like(value, np.nan) for path, value in update.delta.items()})


def test_the_mean_is_weighted_by_patients_and_independent_of_order() -> None:
    one = Update("r", 1, "one", {"w": np.array([1.0], np.float32)}, patients=1, photos=1, loss=0.0)
    two = replace(one, silo="two", delta={"w": np.array([4.0], np.float32)}, patients=3)
    assert weighted_mean([one, two])["w"] == pytest.approx(3.25)
    rng = np.random.default_rng(0)
    many = [
        replace(one, silo=f"s{i}", delta={"w": rng.normal(size=500).astype(np.float32)}, patients=i + 1)
        for i in range(9)
    ]
    shuffled = [many[i] for i in rng.permutation(9)]
    assert np.array_equal(weighted_mean(many)["w"], weighted_mean(shuffled)["w"])


def test_a_cap_bounds_the_weight_of_one_silo() -> None:
    one = Update("r", 1, "one", {"w": np.array([0.0], np.float32)}, patients=1, photos=1, loss=0.0)
    huge = replace(one, silo="huge", delta={"w": np.array([1.0], np.float32)}, patients=10**6)
    assert weighted_mean([one, huge], patient_cap=1)["w"] == pytest.approx(0.5)


def test_one_hospital_is_never_aggregated_alone(tmp_path: Path) -> None:
    update = Update("r", 1, "one", {"w": np.ones(1, np.float32)}, patients=1, photos=1, loss=0.0)
    with pytest.raises(ValueError, match="two silos"):
        weighted_mean([update, update])
    silos = {"a": FakeSilo("a"), "b": FakeSilo("b", nan), "c": FakeSilo("c", nan)}
    with pytest.raises(TrainingError, match="quorum"):
        lead(coordination(tmp_path, quorum=2), silos)
    kept = checkpoints.read(tmp_path)
    assert kept is not None
    assert all(summary.discarded for summary in kept.history)
    assert all(np.array_equal(kept.parameters[path], INITIAL[path]) for path in INITIAL)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (nan, "not finite"),
        (spoilt(loss=float("nan")), "loss"),
        (spoilt(silo="another"), "another silo"),
        (spoilt(round=7), "round 7"),
        (spoilt(run="other"), "run other"),
        (spoilt(patients=0), "0 patients"),
        (spoilt(delta={"a.weight": np.zeros((2, 3), np.float32)}), "missing"),
        (spoilt(delta=INITIAL | {"c": np.zeros(1, np.float32)}), "unknown"),
        (spoilt(delta=INITIAL | {"b": np.zeros(3, np.float32)}), "shape"),
        (spoilt(delta=INITIAL | {"b": np.full(2, 1e6, np.float32)}), "norm"),
        (lambda update: Refusal(update.silo, "the policy says no"), "policy"),
    ],
)
def test_a_bad_update_is_left_out_and_its_silo_named(
    tmp_path: Path, spoil: Callable[[Update], Update], reason: str
) -> None:
    silos = {"a": FakeSilo("a"), "b": FakeSilo("b"), "c": FakeSilo("c", spoil)}
    with_bad = lead(coordination(tmp_path / "bad", max_update_norm=1e3), silos)
    without = lead(coordination(tmp_path / "good", names=("a", "b")), silos)
    assert all(reason in summary.excluded["c"] for summary in with_bad.history)
    assert all(set(summary.losses) == {"a", "b"} for summary in with_bad.history)
    assert all(np.array_equal(with_bad.parameters[path], without.parameters[path]) for path in INITIAL)


def test_the_gate_passes_what_is_right() -> None:
    update = Update("r", 1, "a", INITIAL, patients=2, photos=2, loss=0.1)
    assert refusal(update, received=INITIAL, run="r", round=1, silo="a", max_norm=2.0) is None


def test_a_crash_in_a_silo_is_a_refused_update_and_not_the_end(tmp_path: Path) -> None:
    class Broken(FakeSilo):
        def train(self, request: TrainRequest) -> Update | Refusal:
            raise RunError("disk full", remedy="free space")

    silos = {"a": FakeSilo("a"), "b": FakeSilo("b"), "c": Broken("c")}
    last = lead(coordination(tmp_path), silos)
    assert "disk full" in last.history[-1].excluded["c"]


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def silos() -> dict[str, FakeSilo]:
        return {name: FakeSilo(name) for name in ("a", "b", "c")}

    whole = lead(coordination(tmp_path / "whole"), silos())

    class Stop(Exception):
        pass

    def stop_after_first(checkpoint: Checkpoint) -> None:
        raise Stop

    run = coordination(tmp_path / "halved")
    with pytest.raises(Stop):
        run_inline(run, silos().__getitem__, on_round=stop_after_first)
    second = silos()
    resumed = lead(run, second)
    assert second["a"].asked == [2, 3]
    assert all(np.array_equal(whole.parameters[path], resumed.parameters[path]) for path in INITIAL)


def test_a_run_that_goes_on_does_not_wait_a_whole_deadline_for_one_who_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rounds.RETURN_SECONDS", 0.2)
    monkeypatch.setattr("server.rounds.NEWCOMER_SECONDS", 0.0)
    silos = {name: FakeSilo(name) for name in ("a", "b", "c")}

    class WithoutC(InlineGrid):
        def get_node_ids(self) -> list[int]:
            return list(super().get_node_ids())[:-1]

    def stop(checkpoint: Checkpoint) -> None:
        raise InterruptedError

    grid = WithoutC(client.app.build(lambda context: silos[str(context.node_config["silo"])]), tuple(silos))
    with pytest.raises(InterruptedError):
        run_rounds(grid, coordination(tmp_path, deadline_s=0.3), on_round=stop)
    last = run_rounds(grid, coordination(tmp_path, deadline_s=3600.0))
    assert [sorted(summary.losses) for summary in last.history] == [["a", "b"]] * 3
    assert silos["c"].asked == []


def test_a_checkpoint_that_was_altered_or_is_anothers_is_refused(tmp_path: Path) -> None:
    silos = {name: FakeSilo(name) for name in ("a", "b", "c")}
    lead(coordination(tmp_path), silos)
    with pytest.raises(RunError, match="holds run 'test'"):
        lead(coordination(tmp_path, run="other"), silos)
    path = tmp_path / checkpoints.FILE
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(RunError, match="altered"):
        checkpoints.read(tmp_path)
    path.write_bytes(b"\x00" * 40)
    with pytest.raises(RunError, match="damaged"):
        checkpoints.read(tmp_path)


def test_two_nodes_of_one_name_are_told(tmp_path: Path) -> None:
    twins = {"a": FakeSilo("a"), "b": FakeSilo("a"), "c": FakeSilo("c")}
    with pytest.raises(TrainingError, match="two nodes"):
        lead(coordination(tmp_path), twins)


def test_a_silo_that_the_run_does_not_name_receives_no_training_message(tmp_path: Path) -> None:
    stranger = FakeSilo("stranger")
    silos = {"a": FakeSilo("a"), "b": FakeSilo("b"), "c": stranger}
    last = lead(coordination(tmp_path, deadline_s=0.3), silos)
    assert stranger.asked == []
    assert last.history[0].excluded == {"c": "not connected"}


def test_a_silo_that_comes_later_or_fails_at_first_takes_part_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.attendance.AGAIN_SECONDS", 0.0)

    class Waking(FakeSilo):
        asleep = True

        def describe(self, question: Question) -> SiloDescription | Refusal:
            if self.asleep:
                self.asleep = False
                raise RunError("the agent starts", remedy="wait")
            return super().describe(question)

    class LateGrid(InlineGrid):
        """Its last node connects once a round was trained."""

        def get_node_ids(self) -> list[int]:
            nodes = list(super().get_node_ids())
            return nodes if silos["a"].asked else nodes[:-1]

    silos = {"a": FakeSilo("a"), "b": Waking("b"), "c": FakeSilo("c")}
    grid = LateGrid(client.app.build(lambda context: silos[str(context.node_config["silo"])]), ("a", "b", "c"))
    last = run_rounds(grid, coordination(tmp_path, deadline_s=0.3))
    assert [sorted(summary.losses) for summary in last.history] == [["a", "b"], ["a", "b", "c"], ["a", "b", "c"]]
    assert last.history[0].excluded == {"c": "not connected"}


@pytest.mark.parametrize(
    ("code", "told"), [(ErrorCode.NODE_UNAVAILABLE, GONE), (ErrorCode.MESSAGE_UNAVAILABLE, RESTARTED)]
)
def test_who_goes_away_in_a_round_is_named_with_the_reason(tmp_path: Path, code: int, told: str) -> None:
    class Losing(InlineGrid):
        """What its last node was asked to train is lost."""

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            for number in message_ids:
                asked = self._waiting[number]
                if asked.metadata.message_type == "train.round" and asked.metadata.dst_node_id == FIRST_NODE + 2:
                    yield Message(Error(code, "in Flower's words"), reply_to=self._waiting.pop(number))
                else:
                    yield from super().pull_messages([number])

    silos = {name: FakeSilo(name) for name in ("a", "b", "c")}
    grid = Losing(client.app.build(lambda context: silos[str(context.node_config["silo"])]), tuple(silos))
    last = run_rounds(grid, coordination(tmp_path))
    assert [summary.excluded for summary in last.history] == [{"c": told}] * 3
    assert reason_of(told).value == {GONE: "not_connected", RESTARTED: "restarted"}[told]


def test_after_a_round_without_its_quorum_the_next_waits_until_enough_silos_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rounds.ASK_SECONDS", 0.0)

    class Away(FakeSilo):
        """Gone in the first round; away still for the next three questions."""

        questions = 0

        def describe(self, question: Question) -> SiloDescription | Refusal:
            self.questions += 1
            if 1 in self.asked and self.questions < 5:
                raise RunError("the machine starts", remedy="wait")
            return super().describe(question)

        def train(self, request: TrainRequest) -> Update | Refusal:
            update = super().train(request)
            if request.round == 1 or self.questions < 5:
                raise RunError("gone", remedy="wait")
            return update

    silos = {"a": FakeSilo("a"), "b": Away("b"), "c": Away("c")}
    last = lead(coordination(tmp_path, quorum=3), silos)
    assert [summary.discarded for summary in last.history] == [True, False, False]
    assert silos["b"].asked == silos["c"].asked == [1, 2, 3]
    assert isinstance(silos["b"], Away)
    assert silos["b"].questions == 5


def test_silos_that_never_return_do_not_hold_a_run_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rounds.ASK_SECONDS", 0.0)
    monkeypatch.setattr("server.rounds.QUORUM_SECONDS", 0.2)

    class Gone(FakeSilo):
        def describe(self, question: Question) -> SiloDescription | Refusal:
            if self.asked:
                raise RunError("gone", remedy="wait")
            return super().describe(question)

        def train(self, request: TrainRequest) -> Update | Refusal:
            super().train(request)
            raise RunError("gone", remedy="wait")

    with pytest.raises(TrainingError, match="3 rounds in a row"):
        lead(coordination(tmp_path, quorum=3), {"a": FakeSilo("a"), "b": Gone("b"), "c": Gone("c")})
