"""The clinic's door: a second socket for people who ask about patients and have no other right on the workspace.

It lies where policy says (``clinic.socket``), opens to one OS group, and offers less than the agent's own socket:
nobody stops the agent, opens epochs or touches keys from there.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from client.local.door import Request
from client.workspace.workspace import Workspace
from common.errors import DisclosureError

OFFERED = frozenset({"rank", "status", "budget"})
DISCOVERY = "discover."

Handle = Callable[[Request], dict[str, Any]]


def for_clinic(handle: Handle) -> Handle:
    """``handle`` for what clinicians may ask."""

    def handled(request: Request) -> dict[str, Any]:
        if request.operation not in OFFERED and not request.operation.startswith(DISCOVERY):
            raise DisclosureError(
                f"the clinic's socket does not offer '{request.operation[:40]}'",
                remedy="ask hospital IT, who use the workspace itself",
            )
        return handle(request)

    return handled


def door_at(path: Path) -> Path:
    """The socket to ask: ``path`` itself if it is one, else that of the workspace there.

    Raises:
        AgentError: it is neither.
    """
    try:
        if stat.S_ISSOCK(path.stat().st_mode):
            return path
    except OSError:
        pass  # the workspace's own error says more
    return Workspace(path).socket_path
