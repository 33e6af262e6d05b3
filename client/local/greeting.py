"""Versions at the agent's local sockets: asker and agent may have been started from different releases."""

from __future__ import annotations

from typing import Any

from common.errors import AgentError, VersionError
from common.versions import BEFORE, Hello, agree

KEY = "phenofed"
"""Of the hello in each request and each answer; releases of before versions pass it over."""

GREET = "hello"
"""The operation of a command that must not act before it knows whom it speaks with; the door itself answers it."""

NOT_UNDERSTOOD = "the agent does not understand the request"


class NotUnderstood(AgentError):
    """An agent of before versions was asked for something that its release does not know; it did nothing."""


def check(agent: Hello, command: Hello) -> None:
    """Check that both sides speak one version of the sockets' protocol.

    Raises:
        VersionError: they do not.
    """
    try:
        agree(command, agent, ["local"], we="this command", they="the agent")
    except VersionError as error:
        raise VersionError(error.what, remedy="restart the agent from the release that is installed") from error


def told(message: dict[str, Any]) -> Hello:
    """Take the hello out of a request or an answer.

    Raises:
        VersionError: what stands there is none.
    """
    text = message.pop(KEY, "")
    return Hello.from_text(text if isinstance(text, str) else "?")


def must_greet(command: Hello) -> bool:
    """Whether a command would do something at an agent of before versions that it does not speak with."""
    try:
        check(BEFORE, command)
    except VersionError:
        return True
    return False
