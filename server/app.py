"""Flower's ServerApp, thin: it asks the provider for the run and leads its rounds."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.errors import PhenofedError
from common.federation import Coordination, provider
from server import round_log
from server.rounds import OnRound, run_rounds


def build(
    coordination: Callable[[Context], Coordination],
    *,
    on_round: OnRound = lambda checkpoint: None,
    on_failure: Callable[[PhenofedError], None] = lambda error: None,
) -> ServerApp:
    """A ServerApp that leads the run which ``coordination`` names.

    Args:
        on_failure: told of an error before Flower, which keeps only its text, sees it.
    """
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        run = ""
        try:
            led = coordination(context)
            run = led.run
            run_rounds(grid, led, on_round=on_round)
        except PhenofedError as error:
            round_log.gave_up(run, type(error).__name__)
            on_failure(error)
            raise

    return server


def _by_provider(context: Context) -> Coordination:
    return provider(str(context.run_config["provider"])).coordination(context.run_config)


app = build(_by_provider)
