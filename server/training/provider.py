"""A deployed run for the ServerApp, which Flower starts in a process of its own: all from the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.federation import Coordination, Provider, SiloOperations
from server.training.led_run import open_run
from server.training.run_log import keep_log


class ConsortiumProvider:
    """``folder`` in the run's settings is the run's; its plan, approvals and the roster are verified anew."""

    def silo(self, run_config: Mapping[str, Any], node_config: Mapping[str, Any]) -> SiloOperations:
        """A hospital's node finds its agent by its own environment, never by what a run says."""
        raise ConfigError("this node has no agent", remedy="start it with phenofed silo train-node")

    def coordination(self, run_config: Mapping[str, Any]) -> Coordination:
        """The run to lead. From here on this process writes what happens into the run's log."""
        run = open_run(Path(str(run_config["folder"])))
        keep_log(run.path)
        return run.coordination()


provider: Provider = ConsortiumProvider()
