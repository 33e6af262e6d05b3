"""Coordinators and silos of different releases in a run: who takes part, in which version, who is waited for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.training.meeting import check_protocol, meet
from common.consortium.identity import Member
from common.errors import TrainingError, VersionError
from common.federation import Coordination
from common.records import Question, Refusal, SiloDescription, TrainRequest, Update
from common.versions import BEFORE, OWN, SOFTWARE, Hello
from server.checkpoints import Checkpoint
from simulations.engines.inline import run_inline
from tests.versions import LATER

INITIAL = {"w": np.zeros(3, np.float32)}
NAMES = ("clinic-a", "clinic-b", "clinic-c")
MEMBERS = {name: Member(name) for name in NAMES}


class Silo:
    """Answers and signs as an agent of the release ``hello`` does."""

    def __init__(self, name: str, hello: Hello = OWN) -> None:
        self.name, self.hello = name, hello
        self.requests: list[TrainRequest] = []
        self.updates: list[Update] = []

    def describe(self, question: Question) -> SiloDescription | Refusal:
        if self.hello != BEFORE:
            try:
                meet(question, self.name, own=self.hello)
            except VersionError as error:
                return Refusal(self.name, str(error), self.hello.text)
        found = SiloDescription(self.name, 4, 5, 2, hello=self.hello.text if question.hello else "")
        return replace(found, signature=MEMBERS[self.name].sign(found.statement(question)).hex())

    def train(self, request: TrainRequest) -> Update | Refusal:
        self.requests.append(request)
        software = self.hello.software if request.protocol > 1 else ""
        delta = {"w": np.ones(3, np.float32)}
        made = Update(request.run, request.round, self.name, delta, 4, 5, 0.5, "", request.protocol, software)
        self.updates.append(made)
        return replace(made, signature=MEMBERS[self.name].sign(made.statement).hex())


def run(folder: Path, **changes: object) -> Coordination:
    made = Coordination("spring", 0, 2, NAMES, {}, {}, INITIAL, folder, deadline_s=0.3)
    cards = {name: member.card for name, member in MEMBERS.items()}
    return replace(made, digest="ab" * 32, cards=cards, **changes)  # type: ignore[arg-type]


def lead(led: Coordination, silos: dict[str, Silo]) -> Checkpoint:
    return run_inline(led, silos.__getitem__, on_round=lambda checkpoint: None)


def silos(**hellos: Hello) -> dict[str, Silo]:
    return {name: Silo(name, hellos.get(name[-1], OWN)) for name in NAMES}


def test_each_silo_is_asked_in_the_newest_version_that_it_speaks(tmp_path: Path) -> None:
    made = silos(b=BEFORE, c=Hello("0.2.0", {"training": (2, 5)}))
    last = lead(run(tmp_path), made)
    assert [sorted(summary.losses) for summary in last.history] == [list(NAMES)] * 2
    assert {name: silo.requests[0].protocol for name, silo in made.items()} == dict(
        zip(NAMES, (2, 1, 2), strict=True)
    )
    assert made["clinic-a"].requests[0].software == SOFTWARE
    assert [silo.updates[0].software for silo in made.values()] == [SOFTWARE, "", "0.2.0"]


def test_a_silo_of_before_versions_gives_the_same_model_to_the_bit(tmp_path: Path) -> None:
    new, mixed = lead(run(tmp_path / "new"), silos()), lead(run(tmp_path / "mixed"), silos(a=BEFORE, b=BEFORE))
    assert np.array_equal(new.parameters["w"], mixed.parameters["w"])


@pytest.mark.parametrize("theirs", [LATER, BEFORE])
def test_a_silo_without_a_version_in_common_is_left_out_and_named(
    tmp_path: Path, theirs: Hello, caplog: pytest.LogCaptureFixture
) -> None:
    own = OWN if theirs is LATER else Hello("0.3.0", {"training": (2, 3)})
    made = silos(b=theirs)
    with caplog.at_level(logging.WARNING, logger="phenofed.run.rounds"):
        last = lead(run(tmp_path, hello=own), made)
    why = last.history[0].excluded["clinic-b"]
    assert f"clinic-b runs {theirs.words('training')}, the coordinator runs {own.words('training')}" in why
    assert why.endswith("update the coordinator" if theirs is LATER else "update clinic-b")
    assert made["clinic-b"].requests == []
    assert [sorted(summary.losses) for summary in last.history] == [["clinic-a", "clinic-c"]] * 2
    (told,) = [record for record in caplog.records if getattr(record, "event", "") == "silo.outdated"]
    assert "waiting: clinic-b runs" in told.getMessage()


def test_where_too_few_fit_the_coordinator_waits_until_the_deadline_and_says_so(tmp_path: Path) -> None:
    made = silos(b=LATER, c=LATER)
    with pytest.raises(TrainingError, match="1 of 3 silos take part") as refused:
        lead(run(tmp_path), made)
    assert "clinic-b: its release does not fit: clinic-b runs phenofed 0.3.0" in str(refused.value)
    assert not any(silo.requests for silo in made.values())


def test_a_silo_that_is_updated_while_it_is_waited_for_takes_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.attendance.AGAIN_SECONDS", 0.0)

    class Updated(Silo):
        def describe(self, question: Question) -> SiloDescription | Refusal:
            answer = super().describe(question)
            self.hello = OWN
            return answer

    made = silos() | {"clinic-b": Updated("clinic-b", LATER)}
    last = lead(run(tmp_path, least=3, deadline_s=20.0), made)
    assert [sorted(summary.losses) for summary in last.history] == [list(NAMES)] * 2


def test_a_coordinator_of_before_versions_is_answered_as_it_reads(tmp_path: Path) -> None:
    question = Question("spring", "ab" * 32, "cd", "1")
    assert meet(question, "clinic-a") == 1
    later = Hello("0.3.0", {"training": (2, 3)})
    with pytest.raises(
        VersionError, match=r"the coordinator runs phenofed of before versions.*update the coordinator"
    ):
        meet(question, "clinic-a", own=later)
    answer = Silo("clinic-a").describe(question)
    assert isinstance(answer, SiloDescription)
    assert set(answer.values) == {"silo", "patients", "photos", "syndromes", "signature"}


def spoil(silo: Silo, change: Callable[[Update], Update]) -> Silo:
    class Spoiling(Silo):
        def train(self, request: TrainRequest) -> Update | Refusal:
            answer = change(replace(super().train(request), signature=""))  # type: ignore[type-var]
            return replace(answer, signature=MEMBERS[self.name].sign(answer.statement).hex())

    return Spoiling(silo.name, silo.hello)


def test_an_update_in_another_version_than_was_asked_for_does_not_count(tmp_path: Path) -> None:
    made = silos()
    made["clinic-c"] = spoil(made["clinic-c"], lambda update: replace(update, protocol=1, software=""))
    last = lead(run(tmp_path), made)
    assert last.history[0].excluded["clinic-c"].startswith("it answers in version 1 of the training protocol")


def test_versions_are_under_the_silos_signature() -> None:
    card, question = MEMBERS["clinic-a"].card, Question("spring", "ab", "cd", "1", OWN.text)
    answer = Silo("clinic-a").describe(question)
    assert isinstance(answer, SiloDescription)
    signature = bytes.fromhex(answer.signature)
    assert card.verifies(signature, answer.statement(question))
    for altered in (replace(answer, hello=""), replace(answer, hello=LATER.text)):
        assert not card.verifies(signature, altered.statement(question))
    assert not card.verifies(signature, answer.statement(replace(question, hello=LATER.text)))
    request = TrainRequest("spring", 1, 0, {}, {}, INITIAL, "ab", 2, SOFTWARE)
    update = Silo("clinic-a").train(request)
    assert isinstance(update, Update)
    for changed in (replace(update, protocol=1), replace(update, software="0.0.1")):
        assert not card.verifies(bytes.fromhex(update.signature), changed.statement)


@pytest.mark.parametrize("protocol", [0, 3, "2", True, None])
def test_a_round_in_a_version_that_is_not_spoken_is_refused(protocol: object) -> None:
    request = TrainRequest("spring", 1, 0, {}, {}, INITIAL, "ab", protocol, SOFTWARE)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="clinic-a speaks training 1-2"):
        check_protocol(request, "clinic-a")
