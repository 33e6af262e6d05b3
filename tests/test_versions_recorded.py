"""The release of before versions, by the bytes that it sent and read when it was current: both directions of each.

``tests/recorded/before_versions`` was written by that release's own program and is never written anew.
"""

from __future__ import annotations

import json
import queue
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from client.local.door import LocalServer, Request, call, exchange
from client.training.forwarding import AgentSilo
from common.consortium.gallery_epoch import GalleryEpoch
from common.consortium.identity import Card
from common.consortium.messages import read_message
from common.encryption.envelope import Kind as EnvelopeKind
from common.encryption.envelope import Terms, unseal
from common.errors import DisclosureError, VersionError
from common.records import Question, Refusal, SiloDescription, TrainRequest, Update
from common.transport.tls import TlsFiles
from common.transport.wire import METHOD, SERVICE, Frame, Kind, parse
from common.versions import BEFORE, OWN, PROTOCOLS
from tests.agents import wait_until
from tests.relay_consortium import PATIENT, RelayConsortium, raw_stream
from tests.versions import LATER

RECORDED = Path(__file__).parent / "recorded" / "before_versions"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())


def frames(silo: str, way: str) -> list[bytes]:
    return [bytes.fromhex(line) for line in recorded("frames")[silo][way]]


class OldAgent:
    """Sends recorded frames over a stream without metadata, and keeps what comes."""

    def __init__(self, address: str, tls: TlsFiles) -> None:
        self.outgoing: queue.Queue[bytes | None] = queue.Queue()
        self.got: list[bytes] = []
        self._thread = threading.Thread(target=self._run, args=(address, tls))
        self._thread.start()

    def _run(self, address: str, tls: TlsFiles) -> None:
        with raw_stream(address, tls, iter(self.outgoing.get, None)) as stream:
            for raw in stream:
                self.got.append(raw)

    def kinds(self) -> list[Kind]:
        return [parse(raw).kind for raw in self.got]

    def close(self) -> None:
        self.outgoing.put(None)
        self._thread.join(PATIENT)


def same(raw: bytes) -> bytes:
    """A frame without the time that is left, which differs."""
    frame = parse(raw)
    return (frame if not frame.deadline_ms else frame.with_deadline(1)).encode()


def test_an_old_agent_at_a_new_relay_reads_and_sends_the_bytes_of_then(tmp_path: Path) -> None:
    consortium = RelayConsortium(tmp_path, "clinic-a", "clinic-b")
    a = OldAgent(consortium.address, consortium.authority.silo("clinic-a"))
    wait_until(lambda: Kind.PRESENCE in a.kinds())
    b = OldAgent(consortium.address, consortium.authority.silo("clinic-b"))
    wait_until(lambda: Kind.PRESENCE in b.kinds() and a.kinds().count(Kind.PRESENCE) == 2)
    for raw in frames("clinic-a", "sent"):
        a.outgoing.put(raw)
    wait_until(lambda: Kind.REQUEST in b.kinds())
    for raw in frames("clinic-b", "sent"):
        b.outgoing.put(raw)
    wait_until(lambda: Kind.REPLY in a.kinds())
    for silo, agent in (("clinic-a", a), ("clinic-b", b)):
        assert [same(raw) for raw in agent.got] == [same(raw) for raw in frames(silo, "got")]
    a.close()
    b.close()
    consortium.close()


def test_an_old_agent_and_a_new_one_ask_each_other(tmp_path: Path) -> None:
    consortium = RelayConsortium(tmp_path, "clinic-a", "clinic-b")
    old = OldAgent(consortium.address, consortium.authority.silo("clinic-a"))
    wait_until(lambda: Kind.PRESENCE in old.kinds())
    new = consortium.link("clinic-b", lambda sender, topic, body: b"none")
    assert new.wait_for(["clinic-a"], seconds=PATIENT)
    assert new.hello("clinic-a") == BEFORE
    for raw in frames("clinic-a", "sent"):
        old.outgoing.put(raw)
    wait_until(lambda: Kind.REPLY in old.kinds())
    assert frames("clinic-a", "got")[-1] in old.got
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(new.request, "clinic-a", "epoch.newest", b"0", deadline=PATIENT)
        wait_until(lambda: Kind.REQUEST in old.kinds())
        request = next(frame for frame in map(parse, old.got) if frame.kind is Kind.REQUEST)
        reply = Frame(Kind.REPLY, "clinic-a", "clinic-b", message_id=request.message_id, length=2, body=b"me")
        old.outgoing.put(reply.encode())
        assert asked.result() == b"me"
    old.close()
    consortium.close()


def test_a_new_agent_at_an_old_relay(tmp_path: Path) -> None:
    """The relay knows no metadata, sends the frames of then, and answers one request by its recorded reply."""
    consortium = RelayConsortium(tmp_path, "clinic-a")
    certificate, key, authority = consortium.authority.relay().read()
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)

        def attach(incoming: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
            opening, (reply,) = frames("clinic-a", "got")[:-1], frames("clinic-a", "got")[-1:]
            yield from opening
            for raw in incoming:
                frame = parse(raw)
                if frame.kind is Kind.REQUEST:
                    old = parse(reply)
                    yield Frame(**{**vars(old), "message_id": frame.message_id}).encode()

        handler = grpc.stream_stream_rpc_method_handler(attach)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        link = consortium.link("clinic-a", address=f"127.0.0.1:{port}")
        assert link.wait_for(["clinic-b"], seconds=PATIENT), link.why_not
        assert (link.relay, link.hello("clinic-b")) == (BEFORE, BEFORE)
        assert link.request("clinic-b", "epoch.newest", b"0", deadline=PATIENT) == b"none"
        link.close()
        server.stop(None).wait()
    consortium.close()


TRAINING = recorded("training")
ARRAYS = {
    path: np.frombuffer(bytes.fromhex(content), "<f4").reshape(shape)
    for path, (shape, content) in TRAINING["arrays"].items()
}
CARD = Card.from_json(TRAINING["card"])


def record(name: str, arrays: dict[str, np.ndarray] | None = None) -> RecordDict:
    held = ArrayRecord({path: Array(value) for path, value in (arrays or {}).items()})
    return RecordDict({"arrays": held, "note": ConfigRecord({"json": TRAINING[name]})})


def note(made: RecordDict) -> object:
    return made.config_records["note"]["json"]


def test_training_messages_of_then_are_read_and_written_to_the_byte() -> None:
    question = Question.from_record(record("question"))
    described = SiloDescription.from_record(record("description"))
    request = TrainRequest.from_record(record("request", ARRAYS))
    update = Update.from_record(record("update", ARRAYS))
    refused = Update.from_record(record("refusal"))
    assert isinstance(described, SiloDescription)
    assert isinstance(update, Update)
    assert isinstance(refused, Refusal)
    assert (question.hello, described.hello, request.protocol, update.protocol) == ("", "", 1, 1)
    assert CARD.verifies(bytes.fromhex(described.signature), described.statement(question))
    assert CARD.verifies(bytes.fromhex(update.signature), update.statement)
    made = {
        "question": question,
        "description": described,
        "request": request,
        "update": update,
        "refusal": refused,
    }
    assert {name: note(message.to_record()) for name, message in made.items()} == {
        name: TRAINING[name] for name in made
    }


def test_an_old_silos_answer_to_a_new_coordinators_question_holds() -> None:
    """It reads the hello over, and signs what it read."""
    old = Question.from_record(record("question"))
    asked = Question(old.run, old.plan, old.nonce, old.node, OWN.text)
    described = SiloDescription.from_record(record("description"))
    assert isinstance(described, SiloDescription)
    assert CARD.verifies(bytes.fromhex(described.signature), described.statement(asked))


def whole(raw: bytes) -> list[bytes]:
    """The parts of one message on the local socket."""
    (count,), at, parts = struct.unpack_from(">I", raw), 4, []
    for _ in range(count):
        (length,) = struct.unpack_from(">Q", raw, at)
        parts.append(raw[at + 8 : at + 8 + length])
        at += 8 + length
    return parts


def handle(request: Request) -> dict[str, Any]:
    if request.operation == "rank":
        raise DisclosureError("this hospital's policy forbids ranking", remedy="see allow.rank in policy.yaml")
    return {"name": "clinic-a", "connected": True}


def test_an_old_command_at_a_new_agent_gets_the_answer_of_then(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "s", handle)
    for exchanged in recorded("local"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(tmp_path / "s"))
            connection.sendall(bytes.fromhex(exchanged["asked"]))
            connection.shutdown(socket.SHUT_WR)
            found = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        answer = json.loads(whole(found)[0])
        assert answer.pop("phenofed") == OWN.text
        assert answer == json.loads(whole(bytes.fromhex(exchanged["answered"]))[0])
    server.close()


class OldAgentSocket:
    """Answers each connection with bytes of then, chosen by what is asked."""

    def __init__(self, path: Path) -> None:
        self.asked: list[dict[str, Any]] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                head = b""
                for index in range(struct.unpack(">I", file.read(4))[0]):
                    part = file.read(struct.unpack(">Q", file.read(8))[0])
                    head = part if not index else head
                self.asked.append(json.loads(head))
                connection.sendall(self._answer(self.asked[-1]))

    @staticmethod
    def _answer(asked: dict[str, Any]) -> bytes:
        known = {one["operation"]: bytes.fromhex(one["answered"]) for one in recorded("local")}
        if asked["operation"] in known:
            return known[asked["operation"]]
        if asked["operation"] == "describe" and set(asked) - {"operation"} == {"run", "plan", "nonce", "node"}:
            answer: dict[str, Any] = {"ok": json.loads(TRAINING["description"])}
            del answer["ok"]["protocol"]
        elif asked["operation"] == "train" and "phenofed" not in asked:
            answer = {"ok": {"silo": "clinic-a", "refused": "the policy says no"}}
        elif asked["operation"] in ("describe", "train"):
            answer = {"error": [12, "the agent does not understand the request", "update both"]}
        else:
            answer = {"error": [12, f"the agent knows no '{asked['operation']}'", "update the agent"]}
        content = json.dumps(answer).encode()
        return struct.pack(">IQ", 1, len(content)) + content

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def old_agent(tmp_path: Path) -> Iterator[OldAgentSocket]:
    made = OldAgentSocket(tmp_path / "old")
    yield made
    made.close()


def test_a_new_command_at_an_old_agent(old_agent: OldAgentSocket, tmp_path: Path) -> None:
    assert call(tmp_path / "old", "status", {}) == {"name": "clinic-a", "connected": True}
    with pytest.raises(DisclosureError, match="policy forbids ranking"):
        call(tmp_path / "old", "rank", {"patients": [["17", 1]], "top": 10}, [b"a photo"])


def test_a_later_command_asks_an_old_agent_for_nothing(old_agent: OldAgentSocket, tmp_path: Path) -> None:
    with pytest.raises(VersionError) as refused:
        exchange(tmp_path / "old", "stop", {}, own=LATER)
    assert "the agent runs phenofed of before versions (local 1), this command runs phenofed 0.3.0" in str(
        refused.value
    )
    assert "restart the agent" in str(refused.value)
    assert [asked["operation"] for asked in old_agent.asked] == ["hello"]


def test_agents_and_commands_that_do_not_fit_say_so_and_do_nothing(tmp_path: Path) -> None:
    done: list[str] = []

    def handled(request: Request) -> dict[str, Any]:
        done.append(request.operation)
        return {}

    ours, later = LocalServer(tmp_path / "a", handled), LocalServer(tmp_path / "b", handled, hello=LATER)
    try:
        for path, own in ((tmp_path / "a", LATER), (tmp_path / "b", OWN)):
            with pytest.raises(VersionError, match="restart the agent"):
                exchange(path, "stop", {}, own=own)
        # A command of before versions prints what it is told.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(tmp_path / "b"))
            connection.sendall(bytes.fromhex(recorded("local")[0]["asked"]))
            connection.shutdown(socket.SHUT_WR)
            found = json.loads(whole(b"".join(iter(lambda: connection.recv(1 << 16), b"")))[0])
        assert "this command runs phenofed of before versions" in found["error"][1]
    finally:
        ours.close()
        later.close()
    assert done == []


def test_a_new_node_before_an_old_agent_asks_as_it_reads(old_agent: OldAgentSocket, tmp_path: Path) -> None:
    old = Question.from_record(record("question"))
    asked = Question(old.run, old.plan, old.nonce, old.node, OWN.text)
    found = AgentSilo(tmp_path / "old").describe(asked)
    assert isinstance(found, SiloDescription)
    assert found.hello == ""
    assert CARD.verifies(bytes.fromhex(found.signature), found.statement(asked))
    assert [sorted(set(one) & {"hello", "phenofed"}) for one in old_agent.asked] == [["hello", "phenofed"], []]
    request = TrainRequest.from_record(record("request", ARRAYS))
    assert AgentSilo(tmp_path / "old").train(request) == Refusal("clinic-a", "the policy says no")
    assert set(old_agent.asked[-1]) == {"operation", "run", "round", "seed", "model", "plan", "digest"}


def test_epochs_messages_and_envelopes_of_then_are_what_they_were() -> None:
    held = recorded("ranking")
    card = Card.from_json(held["card"])
    epoch = GalleryEpoch.from_json(json.loads(held["proposal"])["epoch"])
    assert epoch.id == held["id"]
    assert json.dumps({"epoch": epoch.to_json(), "previous": None}) == held["proposal"]
    message = bytes.fromhex(held["message"])
    assert read_message(message, card, purpose="counts", context=epoch.digest) == b"sealed counts"
    terms = Terms(EnvelopeKind.QUERY, b"p" * 32, b"l" * 32, b"n" * 32, b"k" * 32, 7)
    assert unseal(bytes.fromhex(held["envelope"]), [terms], card).payload == b"payload"


def test_what_is_said_of_versions_is_what_the_formats_write() -> None:
    held = recorded("ranking")
    assert json.loads(held["proposal"])["epoch"]["version"] == BEFORE.speaks["epoch"][0] == PROTOCOLS["epoch"][1]
    assert bytes.fromhex(held["envelope"])[8] == BEFORE.speaks["envelope"][0] == PROTOCOLS["envelope"][1]
    assert all(oldest <= BEFORE.speaks[name][1] for name, (oldest, _) in PROTOCOLS.items())
