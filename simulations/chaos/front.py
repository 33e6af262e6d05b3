"""The network as the suite may cut, record and damage it: fronts before servers, which end TLS and begin it anew.

A silo's traffic passes its own front, so that one silo can lose the network while the others keep it. What silos
send is kept as it is inside TLS. An honest front changes nothing.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

BLOCK = 1 << 16
LOOK_SECONDS = 0.1

Answer = TypeVar("Answer")
ContextOf = Callable[[ssl.SSLObject], tuple[str, ssl.SSLContext]]
Tap = Callable[["Passage", bytes], bytes | None]
"""Sees each block that a silo sends; gives what goes on in its place, or None to hold the connection for ever."""


class Network:
    """One event loop in a thread of its own, and the fronts in it. ``sent``: by front and silo."""

    def __init__(self) -> None:
        self.sent: dict[tuple[str, str], bytearray] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()

    def call(self, work: Awaitable[Answer]) -> Answer:
        """Do ``work`` in the loop and wait for it."""
        done: Future[Answer] = asyncio.run_coroutine_threadsafe(_awaited(work), self._loop)
        return done.result(30)

    def record(self, front: str, silo: str, block: bytes) -> None:
        """Keep what a silo sends through a front; a connection may outlive what is forgotten."""
        self.sent.setdefault((front, silo), bytearray()).extend(block)

    def forget(self) -> None:
        """Drop what was recorded."""
        self.sent.clear()

    def close(self) -> None:
        """End everything."""

        async def end() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Front:
    """Listens at ``port`` of loopback as long as its server answers and nobody cut it.

    Args:
        server: port of the real server on loopback.
        shown: what the front proves itself with.
        onward: the sender's name, and what the front proves itself with to the server in the sender's place.
    """

    def __init__(
        self, network: Network, name: str, port: int, server: int, *, shown: ssl.SSLContext, onward: ContextOf
    ) -> None:
        self.name, self.port, self.server, self.onward = name, port, server, onward
        self.network, self.tap = network, None
        self.shown = shown
        self.again: bytes | None = None
        """Requests for this path go out a second time, as they were."""
        self.repeated: list[bytes] = []
        """The first line of each answer to a repeated request."""
        self._cut = False
        self._passages: set[Passage] = set()
        self._listener: asyncio.Server | None = None
        network.call(self._begin())

    tap: Tap | None

    def cut(self) -> None:
        """Nothing passes until ``heal``; connections break."""
        self._cut = True
        self.network.call(self._shut())

    def heal(self) -> None:
        """Let pass again."""
        self._cut = False

    def show(self, shown: ssl.SSLContext) -> None:
        """Prove itself with something else from now on."""
        self.shown = shown
        self.network.call(self._shut())

    async def _begin(self) -> None:
        self._looking = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        try:
            while True:
                await self._follow_server()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._shut()

    async def _follow_server(self) -> None:
        there = await _answers(self.server)
        if there and not self._cut and self._listener is None:
            # The port may still be taken by connections that just broke.
            with suppress(OSError):
                self._listener = await asyncio.start_server(
                    self._pass, "127.0.0.1", self.port, ssl=self.shown, reuse_address=True
                )
        elif not there and self._listener is not None:
            await self._shut()

    async def _shut(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for passage in tuple(self._passages):
            passage.end()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = Passage(self, reader, writer)
        self._passages.add(passage)
        try:
            await passage.run()
        finally:
            self._passages.discard(passage)
            passage.end()


class Passage:
    """One connection through a front. ``request``: what the silo has sent since the server last answered."""

    def __init__(self, front: Front, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._front, self._reader, self._writer = front, reader, writer
        self._onward: asyncio.StreamWriter | None = None
        self.request = bytearray()

    async def run(self) -> None:
        """Until either side ends."""
        with suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            sender, context = self._front.onward(self._writer.get_extra_info("ssl_object"))
            self._sender = sender
            self._context = context
            reader, self._onward = await _connect(self._front.server, context)
            ways = [asyncio.ensure_future(self._up()), asyncio.ensure_future(self._down(reader))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    def send(self, content: bytes) -> None:
        """Send something on to the server."""
        if self._onward is not None:
            self._onward.write(content)

    def end(self) -> None:
        """Break it, as a dead network does."""
        for writer in (self._writer, self._onward):
            if writer is not None:
                writer.transport.abort()

    async def _up(self) -> None:
        assert self._onward is not None
        while block := await self._reader.read(BLOCK):
            self._front.network.record(self._front.name, self._sender, block)
            self.request += block
            if self._front.tap is not None:
                changed = self._front.tap(self, block)
                if changed is None:
                    await asyncio.Event().wait()
                block = changed or b""
            self._onward.write(block)
            await self._onward.drain()

    async def _down(self, reader: asyncio.StreamReader) -> None:
        while block := await reader.read(BLOCK):
            request, self.request = bytes(self.request), bytearray()
            again = self._front.again
            if again is not None and request.startswith(b"POST " + again):
                self._front.repeated.append(await self._repeat(request))
            self._writer.write(block)
            await self._writer.drain()

    async def _repeat(self, request: bytes) -> bytes:
        """Send what the silo sent once more, over a connection of its own."""
        reader, writer = await _connect(self._front.server, self._context)
        try:
            writer.write(request)
            await writer.drain()
            return await asyncio.wait_for(reader.readline(), 10)
        except (OSError, TimeoutError):
            return b""
        finally:
            writer.transport.abort()


async def _connect(port: int, context: ssl.SSLContext) -> Any:
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="127.0.0.1")


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.transport.abort()
    return True


async def _awaited(work: Awaitable[Answer]) -> Answer:
    return await work
