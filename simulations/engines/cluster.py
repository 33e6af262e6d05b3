"""A Ray cluster that runs already: found and measured before anything is started on it.

Ray waits without end for an address that nobody answers at, and for cores or GPUs that no machine has. So both are
looked at first, in a process of its own that can be ended.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import dataclass

from common.errors import ConfigError

SECONDS = 60.0

_LOOK = """
import json, logging, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
print(json.dumps([[machine.get("CPU", 0), machine.get("GPU", 0)] for machine in machines]))
"""


@dataclass(frozen=True)
class Cluster:
    """What its machines offer: ``cores`` and ``gpus`` of each."""

    cores: tuple[int, ...]
    gpus: tuple[float, ...]

    def share(self, clients_at_once: int, gpus_per_client: float) -> int:
        """Cores for each of the clients that train at once; a client never spans machines.

        Raises:
            ConfigError: no machine has the GPUs that one client is to have.
        """
        if gpus_per_client > max(self.gpus):
            raise ConfigError(
                f"federation.gpus_per_client is {gpus_per_client:g}, and no machine of the cluster has more than "
                f"{max(self.gpus):g}",
                remedy="start Ray on machines with GPUs, or set it to 0",
            )
        return max(1, min(sum(self.cores) // clients_at_once, max(self.cores)))


def look(address: str, *, seconds: float = SECONDS) -> Cluster:
    """The cluster at ``host:port``.

    Raises:
        ConfigError: nobody answers there, or no Ray of this version.
    """
    host, _, port = address.rpartition(":")
    remedy = "start it with 'ray start --head', and see that both sides have the pinned version of Ray"
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Ray cluster answers at {address}", remedy=remedy) from error
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOOK, address], capture_output=True, timeout=seconds, check=True, text=True
        )
        machines = json.loads(done.stdout.splitlines()[-1])
        return Cluster(tuple(int(cores) for cores, _ in machines), tuple(float(gpus) for _, gpus in machines))
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        raise ConfigError(f"what answers at {address} is no Ray cluster to use", remedy=remedy) from error
