"""The hospital's Flower node: a process of its own that carries messages and holds nothing but its own key.

    node.key  node.pub     ECDSA P-384, made here; the coordinator admits the public one
    ca.pem                 who signs the coordinator's certificate
    node.json              where the coordinator is, and where the agent listens
    flower/                what Flower unpacks and logs

It may run as another OS user than the agent: it needs this folder and the agent's training socket.
"""

from __future__ import annotations

import datetime
import logging
import random
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import ValidationError

from client.training.forwarding import SOCKET
from common.children import child, clean_environment, end_former
from common.config import Settings
from common.consortium.fields import Address, split_address
from common.errors import AgentError
from common.storage import write_bytes, write_text
from common.transport.backoff import Backoff
from common.versions import refuse_newer

LOG = logging.getLogger("phenofed.node")
LOOK_SECONDS = 1.0
AT_ONCE_SECONDS, SOON_SECONDS, MOST_SECONDS = 20.0, 120.0, 60.0
_PROGRAM = "client.training.flower_node"


class NodeSettings(Settings):
    """What node.json holds. ``until``: the last day of the newest approved plan."""

    version: Literal[1] = 1
    superlink: Address
    agent: Path
    proxy: Address | None = None
    until: datetime.date


def equip(folder: Path, settings: NodeSettings, authority: bytes) -> str:
    """Write what the node needs; gives its public key (OpenSSH, one line), which stays the same once made.

    Args:
        authority: the consortium's root certificate, PEM.
    """
    private, public = folder / "node.key", folder / "node.pub"
    if not private.exists() or not public.exists():
        key = ec.generate_private_key(ec.SECP384R1())
        write_bytes(private, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), private=True)
        write_bytes(public, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    write_bytes(folder / "ca.pem", authority)
    write_text(folder / "node.json", settings.model_dump_json(indent=1) + "\n")
    return public.read_text().strip()


def read_node(folder: Path) -> NodeSettings:
    """What ``equip`` wrote.

    Raises:
        AgentError: nothing, or something damaged.
    """
    try:
        content = (folder / "node.json").read_bytes()
        refuse_newer(str(folder / "node.json"), content, kind=AgentError)
        return NodeSettings.model_validate_json(content)
    except (OSError, ValidationError) as error:
        raise AgentError(
            f"{folder} holds no node", remedy="approve a plan first: phenofed silo plans approve"
        ) from error


def serve(folder: Path, stop: threading.Event) -> None:
    """Keep the node running until ``stop``, or until the day after its last plan.

    A coordinator that is away is looked for each second. A node that ends is started anew: at once, and less often
    where it ends soon each time, as over a certificate that is not valid.

    Raises:
        AgentError: the folder holds no node.
    """
    pauses = Pauses(random.SystemRandom())
    while not stop.is_set():
        settings = read_node(folder)
        if datetime.date.today() > settings.until:
            LOG.info("the last plan ended on %s", settings.until)
            return
        began, code = time.monotonic(), None
        if settings.proxy is not None or _answers(settings.superlink):
            code = _run(folder, settings, stop)
        stop.wait(pauses.after(code, time.monotonic() - began))


class Pauses:
    """How long to wait before the node is started again.

    At first each second; one that has ended at once for ``SOON_SECONDS``, as over a certificate that is not valid,
    less often, each ``MOST_SECONDS`` at least.
    """

    def __init__(self, rng: random.Random) -> None:
        self._backoff = Backoff(rng, first=LOOK_SECONDS, ceiling=MOST_SECONDS)
        self._failing = 0.0

    def after(self, code: int | None, seconds: float) -> float:
        """Seconds to wait after a node that ran for ``seconds``; ``code``: None where it did not end by itself."""
        if code is None or seconds >= AT_ONCE_SECONDS:
            self._failing = 0.0
            self._backoff.reset()
            return LOOK_SECONDS
        pause = LOOK_SECONDS if self._failing < SOON_SECONDS else self._backoff.next()
        self._failing += seconds + pause
        return pause


def end_left(folder: Path) -> None:
    """End the node of this folder that a killed agent left behind."""
    end_former(folder / "flower" / "node.pid", _PROGRAM)


def _run(folder: Path, settings: NodeSettings, stop: threading.Event) -> int | None:
    """Run the node; its exit code, or None where it was ended."""
    home = folder / "flower"
    home.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-P", "-m", _PROGRAM),
        *("--root-certificates", str(folder / "ca.pem")),
        *("--superlink", settings.superlink),
        *("--auth-supernode-private-key", str(folder / "node.key")),
        *("--port", str(port)),
    ]
    environment = clean_environment(home, proxy=settings.proxy) | {SOCKET: str(settings.agent)}
    authority = (folder / "ca.pem").read_bytes()
    with child(command, folder=home, name="node", environment=environment, program=_PROGRAM) as node:
        while node.poll() is None and not stop.wait(LOOK_SECONDS):
            renewed = (folder / "ca.pem").read_bytes() != authority
            if renewed or datetime.date.today() > settings.until or read_node(folder) != settings:
                return None
        return node.poll()


def _answers(address: str) -> bool:
    try:
        socket.create_connection(split_address(address), timeout=5).close()
    except OSError:
        return False
    return True
