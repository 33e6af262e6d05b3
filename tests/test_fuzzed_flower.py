"""Malformed, unsigned and wrongly signed requests at Flower's SuperLink and node, as this project starts them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.fleet_pb2 import ActivateNodeRequest, RegisterNodeFleetRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message

from common.children import child, clean_environment
from server.training.led_run import LedRun, begin_run
from server.training.superlink import SuperLink, superlink
from simulations.weights import THIN
from tests.agents import wait_until
from tests.hostile_bytes import Hostile, count
from tests.tls_files import Authority
from tests.training_hospitals import NAMES, approve, found_trainers, free_port, sign_plan
from tests.unharmed import bounded

PATHS = (
    *("register-node", "activate-node", "deactivate-node", "unregister-node", "send-node-heartbeat", "get-fab"),
    *("pull-messages", "push-messages", "get-run", "push-object", "pull-object", "confirm-message-received"),
)


@dataclass
class Led:
    """A SuperLink that runs, with the node of one silo admitted."""

    run: LedRun
    link: SuperLink
    port: int
    node_key: bytes
    node_key_file: Path

    @property
    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.run.relay.ca))

    @property
    def state(self) -> tuple[Any, Any]:
        """Nodes and runs as the operator sees them."""
        return self.link._flwr("supernode", "list", "run"), self.link._flwr("list", "run")


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Led]:
    folder = found_trainers(tmp_path_factory.mktemp("led") / "led")
    signed = sign_plan(folder)
    approvals = [approve(folder, name, signed) for name in NAMES]
    run = begin_run(folder / "operator" / "relay", signed, approvals, backbone=THIN, parent=None)
    port = free_port()
    text = run.approvals[NAMES[0]].node_key
    with superlink(run, f"127.0.0.1:{port}", nodes={NAMES[0]: text}) as link:
        known = load_ssh_public_key(text.encode())
        assert isinstance(known, ec.EllipticCurvePublicKey)
        yield Led(run, link, port, public_key_to_bytes(known), folder / NAMES[0] / "node" / "node.key")


def signed_by(hostile: Hostile, known: bytes) -> tuple[dict[str, str], bytes]:
    """Headers of a stranger who signs well, or in another's name, or not at all; and the key they show."""
    private = ec.generate_private_key(ec.SECP384R1())
    own = public_key_to_bytes(private.public_key())
    shown = hostile.pick(own, own, known, b"", hostile.noise())
    at = hostile.pick(now().isoformat(), now().isoformat(), "2020-01-01T00:00:00+00:00", "x", "9" * 40)
    signature = hostile.pick(sign_message(private, at.encode()), b"", hostile.noise())
    headers = {
        FLEET_HTTP_PUBLIC_KEY_HEADER: base64.b64encode(shown).decode(),
        TIMESTAMP_HEADER: at,
        FLEET_HTTP_SIGNATURE_HEADER: hostile.pick(base64.b64encode(signature).decode(), "!!", "A"),
    }
    return {name: text for name, text in headers.items() if hostile.rng.random() < 0.95}, shown


def body_of(hostile: Hostile, key: bytes) -> bytes:
    body = hostile.pick(RegisterNodeFleetRequest, ActivateNodeRequest)(public_key=key).SerializeToString()
    return bytes(hostile.pick(body, body, hostile.damaged(body), hostile.noise(), b""))


def flood(hostile: Hostile, port: int, trusted: ssl.SSLContext, known: bytes, most: int) -> dict[int, int]:
    """How often each status came back; 0 where the connection was cut."""
    seen: dict[int, int] = {}
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusted, timeout=30)
    for _ in range(most):
        path = f"/v1/fleet/{hostile.pick(*PATHS)}"
        if hostile.rng.random() < 0.1:
            path = hostile.pick("/v1/fleet/", "/", "/%2e%2e/x", "/v1/fleet/x" * 40)
        headers, key = signed_by(hostile, known)
        headers["Content-Type"] = hostile.pick(*["application/protobuf"] * 8, "application/json", "")
        method = hostile.pick(*["POST"] * 12, "GET", "PUT", "TRACE")
        try:
            connection.request(method, path, body=body_of(hostile, key), headers=headers)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        seen[status] = seen.get(status, 0) + 1
    connection.close()
    return seen


def noise_at(hostile: Hostile, port: int, secured: ssl.SSLContext | None, most: int) -> None:
    """Bytes that are no HTTP, in TLS or in clear."""
    for _ in range(most):
        line = b"POST /v1/fleet/register-node HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        content = hostile.pick(hostile.noise(), hostile.damaged(line), line)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as plain:
            plain.settimeout(30)
            with secured.wrap_socket(plain, server_hostname="127.0.0.1") if secured else plain as connection:
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_no_stranger_becomes_a_node_or_touches_a_run(led: Led) -> None:
    hostile, before = Hostile(10), led.state
    pid = led.link._process.pid
    flood(hostile, led.port, led.trusted, led.node_key, 100)
    with bounded(pid, megabytes=96, threads=48, files=64):
        seen = flood(hostile, led.port, led.trusted, led.node_key, count(250))
        noise_at(hostile, led.port, None, count(250) // 6)
        noise_at(hostile, led.port, led.trusted, count(250) // 6)
    assert not {status for status in seen if status in (200, 201, 204)}, seen
    assert seen.get(401, 0) > sum(seen.values()) // 5
    assert led.link._process.poll() is None
    assert led.state == before


def test_a_node_ends_over_a_certificate_that_does_not_verify_so_that_it_is_started_anew(
    led: Led, tmp_path: Path
) -> None:
    Authority(tmp_path)
    command = [
        *(sys.executable, "-P", "-m", "client.training.flower_node"),
        *("--root-certificates", str(tmp_path / "ca.pem"), "--superlink", f"127.0.0.1:{led.port}"),
        *("--auth-supernode-private-key", str(led.node_key_file), "--port", str(free_port())),
    ]
    with child(command, folder=tmp_path, name="node", environment=clean_environment(tmp_path)) as node:
        assert node.wait(60) == 1
    assert "CERTIFICATE_VERIFY_FAILED" in (tmp_path / "node.log").read_text()


def test_nothing_on_this_machine_makes_a_node_answer_or_end(led: Led, tmp_path: Path) -> None:
    hostile, port = Hostile(11), free_port()
    command = [
        *(sys.executable, "-P", "-m", "client.training.flower_node"),
        *("--root-certificates", str(led.run.relay.ca.resolve()), "--superlink", f"127.0.0.1:{led.port}"),
        *("--auth-supernode-private-key", str(led.node_key_file), "--port", str(port)),
    ]
    with child(command, folder=tmp_path, name="node", environment=clean_environment(tmp_path)) as node:
        wait_until(lambda: node.poll() is not None or listens(port))
        assert node.poll() is None, (tmp_path / "node.log").read_text()[-500:]
        noise_at(hostile, port, None, 50)
        with bounded(node.pid, megabytes=96, threads=48, files=64):
            noise_at(hostile, port, None, count(200))
        assert node.poll() is None
        assert listens(port)
