"""What rosters, requests and kits hold alike: names, addresses, hashes, free text; checked the same everywhere."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]{2,45}\]|[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?):([0-9]{1,5})")


def check_name(name: str) -> str:
    """``name`` again.

    Raises:
        ValueError: it is no name for a consortium or a member.
    """
    if not _NAME.fullmatch(name) or name.startswith("-"):
        raise ValueError("a name has 1 to 40 of a-z, 0-9 and '-', and does not begin with '-'")
    return name


def check_printable(text: str) -> str:
    """``text`` again.

    Raises:
        ValueError: it holds what could steer a terminal, or white space around it.
    """
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be one line of printable text")
    return text


def split_address(address: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT; an IPv6 host stands in brackets, which are left out of the answer.

    Raises:
        ValueError: it is no such address.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[3]) < 65536:
        raise ValueError("an address is HOST:PORT, such as relay.example.org:443")
    return match[1].strip("[]"), int(match[3])


def _check_address(address: str) -> str:
    split_address(address)
    return address


Name = Annotated[str, AfterValidator(check_name)]
Title = Annotated[str, AfterValidator(check_printable), Field(max_length=80)]
Contact = Annotated[str, AfterValidator(check_printable), Field(min_length=3, max_length=120)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256, or a raw 32-byte key, as 64 hexadecimal digits."""
Address = Annotated[str, AfterValidator(_check_address)]
