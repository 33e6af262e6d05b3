"""What the relay tells a silo about others: who is connected, and how much more may be sent to whom."""

from __future__ import annotations

from collections.abc import Iterable

from common.transport.wire import CREDIT_BYTES, Frame, Kind, is_name, refused

MAX_NAMES = 1024


def presence(members: Iterable[str], *, receiver: str) -> Frame:
    """Who is connected, for ``receiver``."""
    body = "\n".join(sorted(members)).encode()
    return Frame(Kind.PRESENCE, receiver=receiver, length=len(body), body=body)


def present(frame: Frame) -> frozenset[str]:
    """The names that a presence frame tells.

    Raises:
        RelayError: they are not names.
    """
    try:
        text = bytes(frame.body).decode()
    except UnicodeDecodeError as error:
        raise refused() from error
    names = text.split("\n") if text else []
    if len(names) > MAX_NAMES or not all(is_name(name) for name in names):
        raise refused()
    return frozenset(names)


def credit(bytes_more: int, *, about: str, receiver: str) -> Frame:
    """Leave for ``receiver`` to send that many more bytes of frames to ``about``.

    Where ``about`` is empty it is the first credit, for each member of the consortium.
    """
    body = bytes_more.to_bytes(CREDIT_BYTES, "big")
    return Frame(Kind.CREDIT, sender=about, receiver=receiver, length=len(body), body=body)


def granted(frame: Frame) -> int:
    """The bytes that a credit frame grants."""
    return int.from_bytes(frame.body, "big")
