"""What becomes of a hospital's node when the coordinator, or the node itself, is killed and started again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import Message, RecordDict
from flwr.common.constant import NOOP_FLWR_AID, SUPERLINK_NODE_ID
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager

from common.children import child, clean_environment
from server.training.flower_superlink import Nodes
from server.training.led_run import LedRun, begin_run
from server.training.superlink import SuperLink, superlink
from simulations.weights import THIN
from tests.agents import wait_until
from tests.training_hospitals import NAMES, approve, found_trainers, free_port, sign_plan

MINE, OTHER = NAMES[:2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LedRun]:
    """A consortium's folder, and a run of it that all have approved."""
    folder = found_trainers(tmp_path_factory.mktemp("led") / "led")
    signed = sign_plan(folder)
    approvals = [approve(folder, name, signed) for name in NAMES]
    return folder, begin_run(folder / "operator" / "relay", signed, approvals, backbone=THIN, parent=None)


@contextlib.contextmanager
def node_of(folder: Path, run: LedRun, port: int, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The node of ``MINE`` as its hospital starts it."""
    command = [
        *(sys.executable, "-P", "-m", "client.training.flower_node"),
        *("--root-certificates", str(run.relay.ca.resolve()), "--superlink", f"127.0.0.1:{port}"),
        *("--auth-supernode-private-key", str((folder / MINE / "node" / "node.key").resolve())),
        *("--port", str(free_port())),
    ]
    with child(command, folder=home, name="node", environment=clean_environment(home)) as node:
        yield node


def keys(run: LedRun, *silos: str) -> dict[str, str]:
    return {silo: run.approvals[silo].node_key for silo in silos}


def online(link: SuperLink) -> set[str]:
    """Numbers of the nodes that are there."""
    return {
        node["node-id"] for node in link._flwr("supernode", "list", "run")["nodes"] if node["status"] == "online"
    }


def test_a_node_goes_on_when_the_coordinator_was_killed_and_started_again(
    made: tuple[Path, LedRun], tmp_path: Path
) -> None:
    folder, run = made
    port = free_port()
    with contextlib.ExitStack() as stack:
        with superlink(run, f"127.0.0.1:{port}", nodes=keys(run, *NAMES)) as link:
            node = stack.enter_context(node_of(folder, run, port, tmp_path))
            wait_until(lambda: node.poll() is not None or len(online(link)) == 1)
            before = online(link)
            link._process.kill()
        with superlink(run, f"127.0.0.1:{port}", nodes=keys(run, *NAMES)) as link:
            # No heartbeat is due for half a minute: that it asks for messages is enough.
            wait_until(lambda: node.poll() is not None or online(link) == before)
        assert node.poll() is None, (tmp_path / "node.log").read_text()[-500:]
        assert len(before) == 1


def test_a_node_that_is_not_admitted_any_more_ends(made: tuple[Path, LedRun], tmp_path: Path) -> None:
    folder, run = made
    port = free_port()
    with contextlib.ExitStack() as stack:
        with superlink(run, f"127.0.0.1:{port}", nodes=keys(run, MINE)) as link:
            node = stack.enter_context(node_of(folder, run, port, tmp_path))
            wait_until(lambda: node.poll() is not None or len(online(link)) == 1)
            assert node.poll() is None
        with superlink(run, f"127.0.0.1:{port}", nodes=keys(run, OTHER)) as link:
            node.wait(60)
            assert online(link) == set()


def test_the_successor_of_a_killed_node_is_admitted_at_once(made: tuple[Path, LedRun], tmp_path: Path) -> None:
    folder, run = made
    port = free_port()
    with superlink(run, f"127.0.0.1:{port}", nodes=keys(run, MINE)) as link:
        with node_of(folder, run, port, tmp_path) as node:
            wait_until(lambda: node.poll() is not None or len(online(link)) == 1)
            node.kill()
            node.wait()
        assert online(link), "Flower holds it to be there"
        log = tmp_path / "node.log"
        log.unlink()
        with node_of(folder, run, port, tmp_path) as node:
            wait_until(lambda: node.poll() is not None or "SuperNode ID" in log.read_text())
            assert node.poll() is None, log.read_text()[-500:]


def test_whoever_waits_for_a_killed_node_hears_at_once_that_no_reply_will_come(made: tuple[Path, LedRun]) -> None:
    _, run = made
    state = Nodes(NoOpFederationManager(), ObjectStoreFactory().store(), keys=keys(run, MINE, OTHER))
    mine, other = (node.node_id for node in state.get_node_info())
    for node in (mine, other):
        assert state.activate_node(node, 30)
    flower = state.create_run("a/b", "1", "hash", {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP)
    taken, others = asking(state, flower, mine), asking(state, flower, other)
    assert numbers(state.get_message_ins(mine, None)) == [taken]
    assert numbers(state.get_message_ins(other, None)) == [others]
    left = asking(state, flower, mine)
    assert state.get_message_res({taken, left, others}, flower) == []

    assert state.activate_node(mine, 30)
    (lost,) = state.get_message_res({taken, left, others}, flower)
    assert lost.has_error()
    assert lost.metadata.reply_to_message_id == taken
    # What the killed one had not fetched is its successor's.
    assert numbers(state.get_message_ins(mine, None)) == [left]


def asking(state: Nodes, run: int, node: int) -> str:
    """A message for a node, as the ServerApp's grid sends it; its number."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, run, SUPERLINK_NODE_ID
    message = Message(RecordDict(), node, "query.describe", ttl=60)
    message.metadata.__dict__["_message_id"] = message.object_id
    number = state.store_message_ins(message)
    assert number
    return number


def numbers(messages: list[Message]) -> list[str]:
    return [message.metadata.message_id for message in messages]
