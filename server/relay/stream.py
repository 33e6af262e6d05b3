"""Carries frames between one gRPC stream and its line in the exchange."""

from __future__ import annotations

import asyncio

import grpc

from common.versions import Hello
from server.relay.exchange import Exchange
from server.relay.line import Line


async def carry(
    exchange: Exchange,
    name: str,
    spki: str,
    context: grpc.aio.ServicerContext[bytes, bytes],
    *,
    hello: Hello,
    version: int,
) -> Line:
    """Attach the silo and serve it until its stream or its line ends; neither direction waits for the other.

    Args:
        context: whose initial metadata were sent already: a first write that is cancelled while it carries them
            would spoil the end of the stream.

    Returns:
        The line, no longer attached.
    """
    awake, over = asyncio.Event(), asyncio.Event()
    line = exchange.attach(name, spki, wake=awake.set, on_end=over.set, hello=hello, version=version)
    tasks = [
        asyncio.create_task(_read(exchange, line, context)),
        asyncio.create_task(_write(exchange, line, awake, context)),
        asyncio.create_task(over.wait()),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        exchange.detach(line)
        for task in tasks:
            task.cancel()
        # A stream that breaks ends its tasks with errors of gRPC's own, which say nothing more.
        await asyncio.gather(*tasks, return_exceptions=True)
    return line


async def _read(exchange: Exchange, line: Line, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    while True:
        raw = await context.read()
        if raw is grpc.aio.EOF:
            return
        exchange.receive(line, raw)


async def _write(
    exchange: Exchange, line: Line, awake: asyncio.Event, context: grpc.aio.ServicerContext[bytes, bytes]
) -> None:
    while True:
        awake.clear()
        while (item := line.next(exchange.connected)) is not None:
            if isinstance(item, bytes):
                await context.write(item)
                continue
            try:
                # Waits while the silo does not read: what is for it stays in its bounded queue.
                await context.write(exchange.encode(item))
            finally:
                exchange.delivered(line, item)
        await awake.wait()
