"""Flower's SuperLink with the run's nodes admitted before it listens.

    python -m server.training.flower_superlink NODES.json OPTIONS-OF-FLOWER-SUPERLINK...

Flower 1.41 keeps its nodes in memory, or in a database together with every update that passes, and admits a key
by a command once it listens. Started again it knows none of them: each hospital's node is refused and ends, is
started anew, and is refused until its key's turn has come. Here the approved keys are known from the beginning, by
numbers that follow from them, and a node goes on over a restart, and from run to run, as if nothing had been.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.common import Message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.server.superlink.linkstate import InMemoryLinkState, linkstate_factory
from flwr.supercore.constant import NodeStatus
from flwr.supercore.primitives.asymmetric import public_key_to_bytes


class Nodes(InMemoryLinkState):
    """What the SuperLink knows; at first the nodes of ``keys``.

    Args:
        keys: public keys of nodes (ECDSA, OpenSSH's form), by silo.
    """

    def __init__(self, *flower: Any, keys: Mapping[str, str]) -> None:
        super().__init__(*flower)
        for silo, key in keys.items():
            self._admit(silo, key)

    def activate_node(self, node_id: int, heartbeat_interval: float) -> bool:
        """Let a node begin. One of the same key that is held to be there was killed, and this one follows it.

        Flower would refuse it for as long as the other's last heartbeat counts, 30 to 60 s.
        """
        with self.lock:
            if self.deactivate_node(node_id):
                self._give_up(node_id)
            return super().activate_node(node_id, heartbeat_interval)

    def get_message_ins(self, node_id: int, limit: int | None, *, run_id: int | None = None) -> list[Message]:
        """The messages for a node. One that asks for them is there, whether it has sent a heartbeat yet or not."""
        with self.lock:
            known = self.nodes.get(node_id)
            if known is not None and known.status != NodeStatus.ONLINE:
                self.acknowledge_node_heartbeat(node_id, HEARTBEAT_DEFAULT_INTERVAL)
        return super().get_message_ins(node_id, limit, run_id=run_id)

    def _give_up(self, node_id: int) -> None:
        """Let those who wait for replies of a killed node know at once that there will be none."""
        self.delete_messages(
            {
                number
                for number, message in self.message_ins_store.items()
                if message.metadata.dst_node_id == node_id
                and message.metadata.delivered_at
                and number not in self.message_ins_id_to_message_res_id
            }
        )

    def _admit(self, silo: str, key: str) -> None:
        shown = load_ssh_public_key(key.encode())
        assert isinstance(shown, ec.EllipticCurvePublicKey)
        known = public_key_to_bytes(shown)
        drawn = self.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, known, HEARTBEAT_DEFAULT_INTERVAL, name=silo)
        # Flower draws the number; a node that was here before knows itself by this one.
        number, node = number_of(known), self.nodes.pop(drawn)
        node.node_id = number
        self.nodes[number] = node
        self.node_public_key_to_node_id[known] = number
        self.owner_to_node_ids[NOOP_FLWR_AID].remove(drawn)
        self.owner_to_node_ids[NOOP_FLWR_AID].add(number)


def number_of(key: bytes) -> int:
    """A node's number: 64 bits of the hash of its public key (PEM)."""
    return int.from_bytes(hashlib.sha256(b"phenofed node\0" + key).digest()[:8], "big")


def main() -> None:
    """Run the SuperLink with this process's arguments."""
    from flwr.superlink.cli import flower_superlink

    keys = json.loads(Path(sys.argv.pop(1)).read_text())
    linkstate_factory.InMemoryLinkState = partial(Nodes, keys=keys)  # type: ignore[assignment,attr-defined]
    flower_superlink()


if __name__ == "__main__":
    main()
