"""Malformed requests at every place where an agent listens: nothing crashes, hangs, changes or grows."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from prometheus_client import CollectorRegistry, Gauge

from client.agent import Agent
from client.audit.entry import Entry, read_entry
from client.audit.files import lines, log_files
from client.audit.verifying import verify
from client.discovery.exchange import LinkExchange
from client.local.door import call
from common.consortium.messages import write_message
from common.errors import PhenofedError
from common.metrics_server import CONNECTIONS, MetricsServer
from tests.agents import Hospitals, found_hospitals, hospitals, photo, set_policy
from tests.hostile_bytes import Hostile, count
from tests.unharmed import bounded, state_of

NAMES = ("alpha", "beta", "gamma", "delta")
PATIENT = 30.0
REQUESTS: tuple[tuple[dict[str, Any], int], ...] = (
    ({"operation": "rank", "patients": [["p", 1]], "top": 10, "keep": False, "aligned": True}, 1),
    ({"operation": "rank", "patients": [["p", 1], ["q", 2]], "top": 1, "keep": True, "aligned": False}, 3),
    ({"operation": "status"}, 0),
    ({"operation": "budget"}, 0),
    ({"operation": "keys", "action": "show"}, 0),
    ({"operation": "discover.ask", "partner": "beta", "patients": ["alpha-1"]}, 0),
    ({"operation": "discover.accept", "link": "3f2a90c1d47e"}, 0),
    ({"operation": "discover.refuse", "link": "3f2a90c1d47e"}, 0),
    ({"operation": "discover.links"}, 0),
    ({"operation": "discover.clusters"}, 0),
    ({"operation": "discover.remaining"}, 0),
)
"""What people ask of the agent, with the number of photos; none of it changes anything."""


SHOWN = frozenset({"keys", "discover.links", "discover.clusters", "status"})
"""What may be done by chance: it only shows."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    """Four hospitals with an open epoch, who have ranked once; the relay takes any number of requests."""
    folder = found_hospitals(tmp_path_factory.mktemp("c") / "c", NAMES)
    settings = folder / "operator" / "relay" / "relay.yaml"
    plenty = {"requests_a_second": 1e6, "requests_at_once": 1_000_000}
    settings.write_text(yaml.safe_dump({**yaml.safe_load(settings.read_text()), "limits": plenty}))
    for name in NAMES:
        set_policy(folder / name, allow={"rank": True, "discover": True})
    with hospitals(folder, start=NAMES) as made:
        made.open_epoch()
        yield made


def small_photo() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 60, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def raw(path: Path, content: bytes) -> bytes:
    """What a socket answers to bytes that end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENT)
        connection.connect(str(path))
        found = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                found += part
        return found


def framed(*parts: bytes) -> bytes:
    return struct.pack(">I", len(parts)) + b"".join(struct.pack(">Q", len(part)) + part for part in parts)


def unframed(content: bytes) -> list[bytes]:
    (number,), at, parts = struct.unpack_from(">I", content), 4, []
    for _ in range(number):
        (size,) = struct.unpack_from(">Q", content, at)
        parts.append(content[at + 8 : at + 8 + size])
        at += 8 + size
    assert at == len(content)
    return parts


def audit_lines(folder: Path) -> list[Entry]:
    return [read_entry(line) for _, path in log_files(folder / "audit") for line, whole in lines(path) if whole]


def all_at_once(send: Callable[[bytes], bytes], contents: list[bytes]) -> list[bytes]:
    """The answers, in order; a few at a time."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(send, contents))


def test_nothing_that_people_or_programs_send_to_the_local_socket_harms_the_agent(served: Hospitals) -> None:
    # No size that the agent takes, so that a request that is valid by chance still asks nobody.
    hostile, picture = Hostile(1), small_photo()
    agent = served.agents["alpha"]
    path = agent.workspace.socket_path
    asked = []
    for _ in range(count(1200)):
        values, photos = hostile.pick(*REQUESTS)
        pictures = [hostile.pick(picture, hostile.damaged(picture), hostile.noise()) for _ in range(photos)]
        how = hostile.rng.randrange(10)
        if how == 0:
            asked.append(hostile.noise())
        elif how < 3:
            asked.append(hostile.damaged(framed(json.dumps(values).encode(), *pictures)))
        elif how == 3:
            asked.append(framed(*hostile.shuffled([json.dumps(values).encode(), *pictures])))
        else:
            asked.append(framed(hostile.text(values), *pictures))
    with unharmed(agent):
        answers = all_at_once(lambda content: raw(path, content), asked)
    refused = 0
    for content, answer in zip(asked, answers, strict=True):
        told = json.loads(unframed(answer)[0]) if answer else {"error": "cut off"}
        assert len(told.keys() & {"ok", "error"}) == 1, content[:200]
        assert "failed over the request" not in str(told), content[:300]
        refused += "error" in told
    assert refused > len(asked) * 0.6


def answers_to(path: Path) -> dict[str, dict[str, Any]]:
    """What good requests get; without the time of the last look at the relay."""
    answers = {name: call(path, name, {}) for name in ("status", "budget", "discover.links")}
    del answers["status"]["documents"]["looked"]
    return answers


@contextlib.contextmanager
def unharmed(agent: Agent, *, harmless: frozenset[str] = SHOWN) -> Iterator[None]:
    """Fails if files of the workspace change, the log tells of anything but refusals, or answers differ after."""
    folder, path = agent.workspace.folder, agent.workspace.socket_path
    before, noted = state_of(folder, without=("audit",)), len(audit_lines(folder))
    good = answers_to(path)
    with bounded():
        yield
    assert answers_to(path) == good
    assert state_of(folder, without=("audit",)) == before
    done = {
        (line.event, line.facts.get("topic")) for line in audit_lines(folder)[noted:] if line.outcome == "done"
    }
    assert {topic or event for event, topic in done} <= harmless
    assert verify(folder / "audit", agent.workspace.member().card).faults == []


def recorded(hospitals: Hospitals) -> list[tuple[str, str, bytes]]:
    """(sender, topic, body) of what alpha was asked in an epoch, a ranking and a question that were in order."""
    found: list[tuple[str, str, bytes]] = []
    service = hospitals.agents["alpha"].link._service
    handler = service._handler

    def noting(sender: str, topic: str, body: bytes) -> bytes:
        found.append((sender, topic, body))
        return handler(sender, topic, body)

    service._handler = noting
    try:
        hospitals.open_epoch("beta")
        hospitals.rank("beta", photo(5))
        with contextlib.suppress(PhenofedError):
            hospitals.ask("beta", "discover.ask", partner="alpha", patients=[])
    finally:
        service._handler = handler
    return found


def test_bodies_that_a_member_sends_are_refused_and_change_nothing(served: Hospitals) -> None:
    hostile, agent, beta = Hostile(2), served.agents["alpha"], served.agents["beta"]
    valid = recorded(served)
    topics = {topic: body for _, topic, body in valid}
    assert set(topics) >= {"epoch.check", "epoch.count", "epoch.open", "keys.bring", "query"}
    topics |= {"epoch.newest": b"1"}
    pair = {"sender": "1" * 32, "receiver": "2" * 32}
    signed = {
        "discover.offer": ("discovery offer", {"version": 1, "pairs": [{**pair, "similarity": 0.9}]}),
        "discover.accept": ("discovery acceptance", {"version": 1, **pair}),
    }
    member, cards = beta.workspace.member(), (agent.workspace.member().card, beta.workspace.member().card)
    context = LinkExchange(
        member, cards[0], agent.discovery._ground.pseudonyms, agent.discovery._ground.book
    )._context

    def body_for(topic: str, body: bytes) -> bytes:
        how = hostile.rng.randrange(6)
        if how == 0:
            return hostile.noise()
        if how == 1:
            return bytes(hostile.pick(*topics.values())[: 1 << 16])
        if topic in signed and how > 1:
            purpose, values = signed[topic]
            return write_message(hostile.text(values), member, purpose=purpose, context=context)
        if how < 4 and _is_json(body):
            return hostile.text(json.loads(body))
        return hostile.damaged(body[: 1 << 18])

    def drawn() -> Iterator[tuple[str, bytes]]:
        for topic, body in (topics | dict.fromkeys(signed, b"x" * 200)).items():
            wild = hostile.rng.random() < 0.05
            asked = hostile.pick("", "x", "epoch", "query/", "keys.bring.") + topic if wild else topic
            yield asked, body_for(topic, body)

    def send(one: tuple[str, bytes]) -> str:
        topic, body = one
        try:
            beta.link.request("alpha", topic, body, deadline=PATIENT)
        except PhenofedError as error:
            return str(error)
        return ""

    # An epoch that is open already is opened, counted and checked again; an offer of no pairs offers nothing.
    shown = {"epoch.newest", "epoch.versions", "keys.known"}
    harmless = shown | {"epoch.check", "epoch.count", "epoch.open", "discover.offer"}
    with unharmed(agent, harmless=SHOWN | harmless), ThreadPoolExecutor(4) as pool:
        # A round of topics at a time: the requests of all rounds would be hundreds of megabytes.
        answers = [answer for _ in range(count(100)) for answer in pool.map(send, drawn())]
    assert not [answer for answer in answers if "could not answer" in answer]
    assert sum(answer != "" for answer in answers) > len(answers) * 0.6
    assert served.rank("beta", photo(5)).rows


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return body[:1] == b"{"


def scraped(port: int, content: bytes) -> bytes:
    """What a metrics server answers to bytes that end."""
    found = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(PATIENT)
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(1 << 16):
            found += part
    return found


def test_metrics_servers_bear_whatever_is_asked_of_them(capfd: pytest.CaptureFixture[str]) -> None:
    hostile, registry = Hostile(9), CollectorRegistry()
    Gauge("known", "one figure", registry=registry).set(7)
    scrape = (
        b"GET /metrics?name[]=known HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text; version=1.0.0;"
        b" q=0.8\r\nAccept-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
    )
    lines = scrape.split(b"\r\n")
    with MetricsServer(registry, 0) as server, bounded():
        asked = []
        for _ in range(count(1500)):
            how = hostile.rng.randrange(5)
            if how == 0:
                asked.append(hostile.noise())
            elif how == 1:
                asked.append(b"\r\n".join(hostile.shuffled(lines)) + b"\r\n\r\n")
            elif how == 2:
                asked.append(
                    b"GET /" + hostile.pick(b"A" * 70_000, b"%" * 90, b"?name[]=" + hostile.noise()) + b"\r\n\r\n"
                )
            elif how == 3:
                asked.append(b"GET /metrics HTTP/1.0\r\n" + b"X: y\r\n" * hostile.pick(1, 99, 500) + b"\r\n")
            else:
                asked.append(hostile.damaged(scrape))
        all_at_once(lambda content: scraped(server.port, content), asked)
        assert b"known 7.0" in scraped(server.port, b"GET /metrics HTTP/1.0\r\n\r\n")
        assert scraped(server.port, b"GET /healthz HTTP/1.0\r\n\r\n").endswith(b"ok\n")
    said = capfd.readouterr()
    assert said.err == said.out == ""


def test_those_who_hold_a_metrics_server_open_are_few_and_let_go() -> None:
    with MetricsServer(CollectorRegistry(), 0, patience=0.3) as server, contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(4 * CONNECTIONS)
        ]
        before = threading.active_count()
        for connection in held:
            connection.settimeout(PATIENT)
            assert connection.recv(1) == b""
        assert before <= threading.active_count() + CONNECTIONS
        assert b"200 OK" in scraped(server.port, b"GET /metrics HTTP/1.0\r\n\r\n")
