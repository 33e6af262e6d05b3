"""What a silo says instead of a reply: short text that crosses the wire and is not trusted on arrival."""

from __future__ import annotations

from common.errors import PhenofedError

# Two texts of letters of four bytes still fit into one error frame.
MAX_TEXT = 250
_KNOWN_CODES = range(3, 14)
_UNIFORM = "the other hospital could not answer"
_UNIFORM_REMEDY = "ask its administrator to look at the agent's log"


class PeerRefusal(PhenofedError):
    """Another silo's refusal, in its own words.

    Args:
        code: the exit code of the error there; what is no such code counts as 1.
        sender: the silo, as the relay authenticated it.
    """

    def __init__(self, what: str, *, remedy: str = "", code: int = 1, sender: str = "") -> None:
        super().__init__(what, remedy=remedy)
        self.code = self.exit_code = code if code in _KNOWN_CODES else 1
        self.sender = sender

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.what, self.remedy, self.code, self.sender))


def write_refusal(error: PhenofedError) -> bytes:
    """The body of an error frame: exit code, what, remedy."""
    return bytes([error.exit_code & 0xFF]) + f"{_short(error.what)}\n{_short(error.remedy)}".encode()


def read_refusal(body: bytes, *, sender: str) -> PeerRefusal:
    """The refusal that ``write_refusal`` wrote; anything else reads as one that says nothing."""
    try:
        what, newline, remedy = body[1:].decode().partition("\n")
    except UnicodeDecodeError:
        return unexplained(sender)
    if not newline or not what.strip() or "\n" in remedy:
        return unexplained(sender)
    return PeerRefusal(f"{sender}: {_short(what)}", remedy=_short(remedy), code=body[0], sender=sender)


def unexplained(sender: str) -> PeerRefusal:
    """The other silo failed and does not say how: details of a fault stay where it happened."""
    return PeerRefusal(f"{sender}: {_UNIFORM}", remedy=_UNIFORM_REMEDY, sender=sender)


def _rebuild(what: str, remedy: str, code: int, sender: str) -> PeerRefusal:
    return PeerRefusal(what, remedy=remedy, code=code, sender=sender)


def _short(text: str) -> str:
    """Printable, on one line, bounded; square brackets would be markup on the asker's screen."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[:MAX_TEXT])
    return plain.replace("[", "(").replace("]", ")").strip()
