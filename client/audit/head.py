"""The sealed end of the audit log: how many lines there are and the digest of the last, signed by the silo.

Without it, lines cut off at the end would leave a chain that still holds. It cannot show that log and head were
both put back to an older state, nor what the silo's own key was used to write: note number and digest elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from common.consortium.identity import Card, Member
from common.errors import AgentError
from common.storage import write_bytes
from common.versions import refuse_newer

FILE = "head.json"
_CONTEXT = b"phenofed audit head 1\0"


@dataclass(frozen=True)
class Head:
    """``number`` lines, the last of which has ``digest``. ``signature``: Ed25519, hexadecimal."""

    silo: str
    number: int
    digest: str
    time: str
    signature: str = ""
    version: int = 1

    def signed_by(self, card: Card) -> bool:
        """Whether the silo of that card sealed it."""
        try:
            return self.silo == card.name and card.verifies(bytes.fromhex(self.signature), self._content())
        except ValueError:
            return False

    def _content(self) -> bytes:
        fields = {name: value for name, value in asdict(self).items() if name != "signature"}
        return _CONTEXT + json.dumps(fields, sort_keys=True).encode()


def write_head(folder: Path, member: Member, *, number: int, digest: str, time: str) -> None:
    """Seal the log's end (0600)."""
    bare = Head(member.card.name, number, digest, time)
    head = Head(bare.silo, number, digest, time, member.sign(bare._content()).hex())
    write_bytes(folder / FILE, (json.dumps(asdict(head), sort_keys=True) + "\n").encode(), private=True)


def read_head(folder: Path) -> Head | None:
    """The head as it lies there, its signature not looked at; None where there is none.

    Raises:
        AgentError: the file is damaged.
    """
    try:
        content = (folder / FILE).read_bytes()
        refuse_newer(str(folder / FILE), content, kind=AgentError)
        head = Head(**json.loads(content))
        if type(head.number) is not int or not isinstance(head.digest, str) or head.version != 1:
            raise ValueError
        head.signature.encode(), head.silo.encode(), head.time.encode()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise AgentError(
            f"the head of the audit log is damaged ({folder / FILE})", remedy="run phenofed silo audit verify"
        ) from error
    return head
