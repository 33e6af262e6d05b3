"""No telemetry, no update checks, no installation at run time: nothing leaves a machine unasked."""

from __future__ import annotations

import os

SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Each attempt at a relay that is away would otherwise be told on standard error, in gRPC's own words.
    "GRPC_VERBOSITY": "NONE",
}


def be_quiet() -> None:
    """Switch off what dependencies would send, for this process and its children; explicit choices stay."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
