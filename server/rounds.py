"""The round loop: deadline, quorum of valid replies, gate, mean, checkpoint.

Flower's strategies aggregate whoever replied, even one hospital alone, and always begin at round 1; so the loop is
ours and Flower carries the messages. With the same responders the result is the same to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from common.errors import RunError, TrainingError
from common.federation import Coordination
from common.records import (
    Parameters,
    Refusal,
    SiloDescription,
    TrainRequest,
    Update,
    applied,
    norm,
)
from server import checkpoints, round_log
from server.aggregation.gate import refusal
from server.aggregation.means import weighted_mean
from server.aggregation.reasons import GONE, REFUSED_BY_SILO, RESTARTED
from server.attendance import Attendance
from server.checkpoints import Checkpoint, RoundSummary
from server.fetching import fetched

MOST_DISCARDED_IN_A_ROW = 3
POLL_SECONDS = 0.02
NEWCOMER_SECONDS = 10.0
"""How long a round's beginning waits for who is new."""
RETURN_SECONDS = 60.0
"""How long a run that goes on waits for those who are away, once enough are there: they come in later."""
QUORUM_SECONDS, ASK_SECONDS = 120.0, 2.0
"""How long a round waits for nodes that are away, after one that lacked its quorum; how often they are asked."""

OnRound = Callable[[Checkpoint], None]


@dataclass(frozen=True)
class Replies:
    """The valid updates of a round, and why the other silos have none."""

    updates: tuple[Update, ...]
    excluded: Mapping[str, str]


def run_rounds(grid: Grid, run: Coordination, *, on_round: OnRound = lambda checkpoint: None) -> Checkpoint:
    """Train until ``run.rounds`` rounds are done, from the newest checkpoint of ``run.folder`` if there is one.

    Args:
        on_round: called after each checkpoint is safely on disk.

    Raises:
        TrainingError: too few silos, or three rounds in a row without a quorum of valid updates.
        RunError: the checkpoint belongs to another run or cannot be written.
    """
    checkpoint = checkpoints.read(run.folder) or Checkpoint(run.run, run.initial)
    if checkpoint.run != run.run:
        raise RunError(f"{run.folder} holds run '{checkpoint.run}', not '{run.run}'", remedy="use another folder")
    attendance = Attendance(run)
    round_log.waiting(run.run, run.silos)
    find_silos(grid, run, attendance, begun=checkpoint.round > 0)
    while checkpoint.round < run.rounds:
        attendance.look_at_roster()
        if checkpoint.history and checkpoint.history[-1].discarded:
            _wait_for_quorum(grid, run, attendance)
        if len(attendance.nodes) < len(run.silos):
            _introduce(grid, run, attendance, seconds=min(NEWCOMER_SECONDS, run.deadline_s))
        checkpoint = _round(grid, run, attendance, checkpoint)
        checkpoints.write(run.folder, checkpoint)
        round_log.kept(run.run, checkpoint.round)
        on_round(checkpoint)
        _stop_if_hopeless(checkpoint, run)
    return checkpoint


def find_silos(grid: Grid, run: Coordination, attendance: Attendance, *, begun: bool = False) -> None:
    """Wait for the run's silos, until all said something and enough of them take part.

    Whom a node serves is told by the silo's signed answer to a question that no other answer fits.

    Args:
        begun: rounds are done already, so that nobody but those who are needed is waited for until the deadline.

    Raises:
        TrainingError: fewer silos than the run asks for answer before the deadline, or two nodes claim one name.
    """
    start = time.monotonic()
    end = start + run.deadline_s
    enough = min(end, start + RETURN_SECONDS) if begun else end
    attendance.look_at_roster()
    while attendance.awaited:
        left = (enough if len(attendance.nodes) >= attendance.least else end) - time.monotonic()
        if left <= 0:
            break
        _introduce(grid, run, attendance, seconds=left)
        time.sleep(POLL_SECONDS)
    attendance.begin()


def _introduce(grid: Grid, run: Coordination, attendance: Attendance, *, seconds: float) -> None:
    """Ask the nodes that are due which silos they serve."""
    nodes = attendance.due(grid.get_node_ids())
    content = lambda node: attendance.question(node).to_record()  # noqa: E731
    apart = run.fetched_apart
    for node, reply in _ask(grid, "query.describe", nodes, content, seconds=seconds, apart=apart):
        attendance.hear(node, _description(reply))


def _wait_for_quorum(grid: Grid, run: Coordination, attendance: Attendance) -> None:
    """Wait until a quorum of silos answers again, with whatever.

    A discarded round is one of the plan's rounds, and Flower holds a node that is gone to be there for 50 seconds:
    the next rounds would be lost with it.
    """
    end = time.monotonic() + QUORUM_SECONDS
    there: set[str] = set()

    def missing() -> int:
        return min(max(2, run.quorum), len(attendance.nodes)) - len(there)

    round_log.waiting(run.run, sorted(attendance.nodes))
    while missing() > 0 and time.monotonic() < end:
        # Each question starts a process at its node: one that is still on its way is not asked twice.
        silo_of = {node: silo for silo, node in attendance.nodes.items() if silo not in there}
        asked = _ask(
            grid,
            "query.describe",
            silo_of,
            lambda node: attendance.question(node).to_record(),
            seconds=end - time.monotonic(),
            apart=run.fetched_apart,
        )
        for node, reply in asked:
            there |= set() if reply.has_error() else {silo_of[node]}
            if missing() <= 0:
                return
        time.sleep(ASK_SECONDS)


def _round(grid: Grid, run: Coordination, attendance: Attendance, before: Checkpoint) -> Checkpoint:
    started, busy = time.monotonic(), time.process_time()
    number = before.round + 1
    round_log.begun(run.run, number, attendance.nodes)
    replies = _collect(grid, run, attendance, before.parameters, number)
    discarded = len(replies.updates) < max(2, run.quorum)
    parameters, length = before.parameters, 0.0
    if not discarded:
        mean = weighted_mean(replies.updates, patient_cap=run.patient_cap)
        parameters = applied(before.parameters, mean)
        length = norm(mean)
    summary = RoundSummary(
        round=number,
        seconds=time.monotonic() - started,
        cpu_seconds=time.process_time() - busy,
        losses={update.silo: update.loss for update in replies.updates},
        excluded=dict(replies.excluded),
        discarded=discarded,
        update_norm=length,
        patients={update.silo: update.patients for update in replies.updates},
        photos={update.silo: update.photos for update in replies.updates},
    )
    round_log.ended(run.run, summary)
    return Checkpoint(run.run, parameters, (*before.history, summary))


def _collect(
    grid: Grid, run: Coordination, attendance: Attendance, parameters: Parameters, number: int
) -> Replies:
    request = TrainRequest(run.run, number, run.seed, run.model, run.plan, parameters, run.digest)
    silo_of = {node: silo for silo, node in attendance.nodes.items()}
    excluded = dict.fromkeys(silo_of.values(), f"no reply within {run.deadline_s:.0f} s")
    excluded |= {silo: attendance.why_absent(silo) for silo in run.silos if silo not in attendance.nodes}
    updates = []

    def content(node: int) -> RecordDict:
        protocol = attendance.protocols[silo_of[node]]
        return replace(request, protocol=protocol, software=run.hello.software).to_record()

    asked = _ask(
        grid,
        "train.round",
        silo_of,
        content,
        seconds=run.deadline_s,
        group=str(number),
        apart=run.fetched_apart,
    )
    for node, reply in asked:
        silo = silo_of[node]
        answer = _update(reply)
        if isinstance(answer, Update):
            reason = refusal(
                answer,
                received=parameters,
                run=run.run,
                round=number,
                silo=silo,
                max_norm=run.max_update_norm,
                card=run.cards.get(silo),
                protocol=attendance.protocols[silo],
            )
        else:
            reason = answer
        if reason is None and isinstance(answer, Update):
            updates.append(answer)
            del excluded[silo]
            round_log.accepted(run.run, number, answer)
        else:
            excluded[silo] = str(reason)
    attendance.look_at_roster()  # who was revoked meanwhile counts no more, whatever came before
    excluded |= {one.silo: attendance.why_absent(one.silo) for one in updates if one.silo not in attendance.nodes}
    updates = [update for update in updates if update.silo in attendance.nodes]
    for silo, why in sorted(excluded.items()):
        round_log.excluded(run.run, number, silo, why)
    return Replies(tuple(sorted(updates, key=lambda update: update.silo.encode())), excluded)


def _ask(
    grid: Grid,
    kind: str,
    nodes: Iterable[int],
    content: Callable[[int], RecordDict],
    *,
    seconds: float,
    group: str = "0",
    apart: bool = False,
) -> Iterable[tuple[int, Message]]:
    """Each node's reply, as it comes, until the deadline.

    Replies are matched by message id: the error reply of a dead node names the wrong source.

    Args:
        apart: see ``Coordination.fetched_apart``.
    """
    targets = list(nodes)
    messages = [Message(content(node), node, kind, ttl=max(seconds, 1.0) + 60, group_id=group) for node in targets]
    pending = dict(zip(grid.push_messages(messages), targets, strict=True))
    for reply in _replies(grid, list(pending), seconds, apart=apart) if pending else ():
        node = pending.pop(reply.metadata.reply_to_message_id, None)
        if node is not None:
            yield node, reply
        if not pending:
            return


def _replies(grid: Grid, wanted: list[str], seconds: float, *, apart: bool) -> Iterable[Message]:
    """Replies until the deadline, some perhaps twice; the caller stops when it has all."""
    if apart:
        yield from fetched(lambda one: grid.pull_messages([one]), wanted, seconds=seconds, pause=POLL_SECONDS)
        return
    end, left = time.monotonic() + seconds, set(wanted)
    while True:
        for reply in grid.pull_messages([one for one in wanted if one in left]):
            left.discard(reply.metadata.reply_to_message_id)
            yield reply
        if time.monotonic() >= end:
            return
        time.sleep(POLL_SECONDS)


def _description(reply: Message) -> SiloDescription | Refusal | None:
    if reply.has_error():
        return None
    try:
        return SiloDescription.from_record(reply.content)
    except TrainingError:
        return None


def _update(reply: Message) -> Update | str:
    """The update, or why there is none."""
    if reply.has_error():
        plain = {ErrorCode.NODE_UNAVAILABLE: GONE, ErrorCode.MESSAGE_UNAVAILABLE: RESTARTED}
        return plain.get(reply.error.code, f"its client failed ({str(reply.error.reason)[:200]})")
    try:
        answer = Update.from_record(reply.content)
    except TrainingError as error:
        return error.what
    return f"{REFUSED_BY_SILO}{answer.reason}" if isinstance(answer, Refusal) else answer


def _stop_if_hopeless(checkpoint: Checkpoint, run: Coordination) -> None:
    recent = checkpoint.history[-MOST_DISCARDED_IN_A_ROW:]
    if len(recent) == MOST_DISCARDED_IN_A_ROW and all(summary.discarded for summary in recent):
        reasons = "; ".join(f"{silo}: {reason}" for silo, reason in sorted(recent[-1].excluded.items()))
        raise TrainingError(
            f"{MOST_DISCARDED_IN_A_ROW} rounds in a row lacked a quorum of {max(2, run.quorum)} ({reasons})",
            remedy="mend the named silos, then resume the run",
        )
