"""What the relay tells a silo about others: who is connected, what they speak, how much may be sent to whom."""

from __future__ import annotations

from collections.abc import Iterable

from common.errors import VersionError
from common.transport.wire import CREDIT_BYTES, Frame, Kind, is_name, refused
from common.versions import Hello

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


def hello(theirs: Hello, *, about: str, receiver: str) -> Frame:
    """What ``about`` speaks, told before it is shown as present."""
    body = theirs.text.encode()
    return Frame(Kind.HELLO, sender=about, receiver=receiver, length=len(body), body=body)


def told(frame: Frame) -> Hello:
    """The hello that a frame tells.

    Raises:
        RelayError: it is none.
    """
    try:
        return Hello.from_text(bytes(frame.body).decode("ascii"))
    except (UnicodeDecodeError, VersionError) as error:
        raise refused() from error
