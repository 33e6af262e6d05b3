"""The agent's door for people of its own hospital: a Unix socket that only permitted users can open.

A request is one message: JSON with operation and hello, then attachments such as photos. The kernel says who asks.
"""

from __future__ import annotations

import grp
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.local import greeting
from client.local.address import address_of, serves
from client.local.peers import admitted, peer_of
from common.encryption import frames
from common.errors import AgentError, DisclosureError, PhenofedError
from common.versions import BEFORE, OWN, Hello

LOG = logging.getLogger("phenofed.requests")

Attachments = Sequence[bytes]
GRACE = 2.0
"""Seconds in which a request that runs may still be answered when the door closes."""
PATIENCE, CONNECTIONS, MOST_BYTES = 60.0, 16, 1 << 30
_AGAIN_SECONDS = 0.2


@dataclass(frozen=True)
class Request:
    """What somebody of the hospital asks: the operation, its values, attachments, and the name of the OS user."""

    operation: str
    values: dict[str, Any]
    attachments: Attachments
    user: str


@dataclass(frozen=True)
class Reply:
    """An answer that does not fit into JSON: its values, and attachments such as arrays."""

    values: dict[str, Any]
    attachments: Attachments = ()


class LocalServer:
    """Serves requests, each in a thread of its own; whoever may open the door cannot block it for long.

    Args:
        path: of the socket; readable and writable by the owner alone, and by ``group`` where one is named.
        handle: answers a request with JSON values; a PhenofedError reaches the asker as it is.
        stranger: told the OS user of each who is neither the owner nor in ``group``, and is refused.
        connections: at once; who comes then waits.
        most_bytes: of one request.
        patience: seconds for a request to come in whole, and for its answer to be taken.
        hello: what the agent says of itself.

    Raises:
        AgentError: another agent serves there, or nothing can be made there.
    """

    def __init__(
        self,
        path: Path,
        handle: Callable[[Request], dict[str, Any] | Reply],
        *,
        group: str | None = None,
        stranger: Callable[[str], None] = lambda user: None,
        connections: int = CONNECTIONS,
        most_bytes: int = MOST_BYTES,
        patience: float = PATIENCE,
        hello: Hello = OWN,
    ) -> None:
        self._hello = hello
        self._path, self._handle, self._stranger = path, handle, stranger
        self._most_bytes, self._patience = most_bytes, patience
        self._room = threading.Semaphore(connections)
        self._closing = threading.Event()
        self._socket = _listen(path)
        self._group: int | None = None
        if group is not None:
            try:
                self._group = _open_to(path, group)
            except AgentError:
                self._socket.close()
                raise
        self._answering: set[threading.Thread] = set()
        self._thread = threading.Thread(target=self._serve, name="local socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; what is being answered gets ``GRACE`` seconds to leave, such as the answer to "stop"."""
        self._closing.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._path.unlink(missing_ok=True)
        end = time.monotonic() + GRACE
        # Only when it takes in nobody any more is it known whom to wait for.
        if self._thread is not threading.current_thread():
            self._thread.join(GRACE)
        for thread in tuple(self._answering):
            thread.join(max(0.0, end - time.monotonic()))

    def _serve(self) -> None:
        while not self._closing.is_set():
            if not self._room.acquire(timeout=_AGAIN_SECONDS):
                continue
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                self._room.release()
                if not self._closing.is_set():
                    # Too many open files, or an asker who left again: neither may shut the door for good.
                    LOG.error("a request was not taken in (%s)", error.strerror)
                    self._closing.wait(_AGAIN_SECONDS)
                continue
            thread = threading.Thread(target=self._one, args=(connection,), daemon=True)
            self._answering.add(thread)
            try:
                thread.start()
            except RuntimeError:
                self._answering.discard(thread)
                self._room.release()
                connection.close()
                LOG.error("a request was not taken in (no thread can be started)")

    def _one(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError, frames.PipeClosed):
                connection.setblocking(False)
                answer, brought = self._exchanged(connection)
                answer |= {greeting.KEY: self._hello.text}
                deadline = time.monotonic() + self._patience
                frames.write(connection.fileno(), [json.dumps(answer).encode(), *brought], deadline=deadline)
        finally:
            self._answering.discard(threading.current_thread())
            self._room.release()

    def _exchanged(self, connection: socket.socket) -> tuple[dict[str, Any], Attachments]:
        deadline, peer = time.monotonic() + self._patience, peer_of(connection)
        if not admitted(peer, owner=os.geteuid(), group=self._group):
            self._stranger(peer.user)
            refused = f"{peer.user} may not ask the agent", "ask hospital IT for its group, and log in anew"
            return {"error": [DisclosureError.exit_code, *refused]}, ()
        try:
            parts = frames.read(connection.fileno(), deadline=deadline, most=self._most_bytes)
        except frames.TooLarge:
            return {"error": [AgentError.exit_code, "the request is too large for the agent", "ask for less"]}, ()
        head, *attachments = parts or [b""]
        return self._answer(head, attachments, peer.user)

    def _answer(self, head: bytes, attachments: Attachments, user: str) -> tuple[dict[str, Any], Attachments]:
        try:
            values = json.loads(head)
            operation = str(values.pop("operation"))
            greeting.check(self._hello, greeting.told(values))
            if operation == greeting.GREET:
                return {"ok": {}}, ()
            reply = self._handle(Request(operation, values, attachments, user))
            return ({"ok": reply.values}, reply.attachments) if isinstance(reply, Reply) else ({"ok": reply}, ())
        except PhenofedError as error:
            return {"error": [error.exit_code, error.what, error.remedy]}, ()
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return {"error": [AgentError.exit_code, greeting.NOT_UNDERSTOOD, "update both"]}, ()
        except Exception as error:
            # Its text may quote a patient; the log gets its kind only.
            LOG.error("a request failed (%s)", type(error).__name__)
            return {"error": [AgentError.exit_code, "the agent failed over the request", "see its log"]}, ()


def call(path: Path, operation: str, values: dict[str, Any], attachments: Attachments = ()) -> dict[str, Any]:
    """The values of what the agent behind the socket ``path`` replies.

    Raises:
        AgentError: no agent listens there, or it ended meanwhile.
        VersionError: it runs a release that does not fit; nothing was done.
        PhenofedError: what the agent refused, in its own words and with its exit code.
    """
    return exchange(path, operation, values, attachments).values


def exchange(
    path: Path, operation: str, values: dict[str, Any], attachments: Attachments = (), *, own: Hello = OWN
) -> Reply:
    """As ``call``, with the attachments of the reply. ``own``: what the command says; ``BEFORE`` for nothing."""
    if operation != greeting.GREET and greeting.must_greet(own):
        exchange(path, greeting.GREET, {}, own=own)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with address_of(path) as address:
                connection.connect(address)
            hello = {greeting.KEY: own.text} if own.text else {}
            request = json.dumps({"operation": operation, **hello, **values}).encode()
            with suppress(frames.PipeClosed):  # what is too large is answered before it is read
                frames.write(connection.fileno(), [request, *attachments])
            content, *brought = frames.read(connection.fileno()) or [b""]
        except (OSError, frames.PipeClosed) as error:
            raise AgentError(
                "the silo's agent does not answer", remedy="start it with phenofed silo up, or read its log"
            ) from error
    answer = json.loads(content)
    greeting.check(agent := greeting.told(answer), own)
    if "error" in answer:
        code, what, remedy = answer["error"]
        if agent == BEFORE and what == greeting.NOT_UNDERSTOOD:
            raise greeting.NotUnderstood(what, remedy=remedy)
        raise _kind(code)(what, remedy=remedy)
    return Reply(dict(answer["ok"]), brought)


def _listen(path: Path) -> socket.socket:
    if path.exists():
        if serves(path):
            raise AgentError("an agent serves this workspace already", remedy="stop it first")
        path.unlink(missing_ok=True)  # left behind by an agent that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with address_of(path) as address:
            listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise AgentError(
            f"cannot make {path} ({error.strerror or error})", remedy="check the workspace"
        ) from error
    finally:
        os.umask(mask)
    return listener


def _open_to(path: Path, group: str) -> int:
    try:
        number = grp.getgrnam(group).gr_gid
        os.chown(path, -1, number)
        path.chmod(0o660)
        return number
    except (OSError, LookupError) as error:
        raise AgentError(
            f"cannot open {path} to group {group}", remedy="name a group that you belong to"
        ) from error


def _kind(code: int) -> type[PhenofedError]:
    return next((kind for kind in PhenofedError.__subclasses__() if kind.exit_code == code), PhenofedError)
