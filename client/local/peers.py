"""Who is at the other end of a local socket, as the kernel says, and whether the door is theirs.

The mode of the socket's file keeps others out already. Asking again who came holds also where that mode was
changed, or where root goes past it.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from dataclasses import dataclass

_CREDENTIALS = struct.Struct("3i")
_PEER_GROUPS, _MOST_BYTES = 59, 1024
"""Linux's SO_PEERGROUPS, since 4.13; Python names it not. So many bytes hold 256 groups."""


@dataclass(frozen=True)
class Peer:
    """An OS user by number, and the groups that its process had when it connected."""

    uid: int
    groups: frozenset[int]

    @property
    def user(self) -> str:
        """The user's name, or its number where it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid {self.uid}"


def peer_of(connection: socket.socket) -> Peer:
    """Whoever connected."""
    content = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(content)
    try:
        listed = connection.getsockopt(socket.SOL_SOCKET, _PEER_GROUPS, _MOST_BYTES)
        others = struct.unpack(f"{len(listed) // 4}I", listed)
    except OSError:
        others = _groups_by_name(uid, gid)
    return Peer(uid, frozenset({gid, *others}))


def admitted(peer: Peer, *, owner: int, group: int | None) -> bool:
    """Whether a door of ``owner`` opens: to that user, and to members of ``group`` where there is one.

    Root is no exception: what is done as root would bear no person's name.
    """
    return peer.uid == owner or (group is not None and group in peer.groups)


def _groups_by_name(uid: int, gid: int) -> tuple[int, ...]:
    """The groups that the system lists for the user, where the kernel does not say."""
    try:
        return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return ()
