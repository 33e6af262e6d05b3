"""The relay's rules without a network: an exchange, its clock, and what silos send and read."""

from __future__ import annotations

from common.transport.wire import CHUNK, Frame, Kind, Status, chunk, parse
from server.relay.exchange import Exchange
from server.relay.limits import Limits
from server.relay.line import Line
from server.relay.metrics import RelayMetrics

ID = b"1" * 16


class Hub:
    """An exchange with a clock that the test moves."""

    def __init__(self, **limits: float) -> None:
        self.now = 1000.0
        self.metrics = RelayMetrics()
        self.exchange = Exchange(Limits(**limits), self.metrics, lambda: self.now)

    def join(self, name: str) -> Line:
        return self.exchange.attach(name, name, wake=lambda: None, on_end=lambda: None)

    def take(self, line: Line, count: int = 10_000) -> list[Frame]:
        """What the silo reads, at most ``count`` frames of it."""
        frames: list[Frame] = []
        while len(frames) < count and (item := line.next(self.exchange.connected)) is not None:
            if isinstance(item, bytes):
                frames.append(parse(item))
            else:
                frames.append(parse(self.exchange.encode(item)))
                self.exchange.delivered(line, item)
        return frames

    def send(self, line: Line, *frames: Frame) -> None:
        for frame in frames:
            self.exchange.receive(line, frame.encode())


def request(sender: str, receiver: str, size: int = 10, message_id: bytes = ID, seconds: float = 5) -> list[Frame]:
    header = Frame(Kind.REQUEST, sender, receiver, "t", message_id, deadline_ms=int(1000 * seconds))
    return [chunk(header, bytes(size), index) for index in range(max(1, -(-size // CHUNK)))]


def reply(sender: str, receiver: str, body: bytes = b"reply", message_id: bytes = ID) -> Frame:
    return Frame(Kind.REPLY, sender, receiver, message_id=message_id, length=len(body), body=body)


def errors(frames: list[Frame]) -> list[Status]:
    return [frame.status for frame in frames if frame.kind is Kind.ERROR]


def messages(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame.kind in (Kind.REQUEST, Kind.REPLY)]
