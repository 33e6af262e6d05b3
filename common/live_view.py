"""A terminal view that is drawn anew again and again, until Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from common.errors import PhenofedError

SECONDS = 2.0


def watch(
    draw: Callable[[], RenderableType], *, stop: threading.Event | None = None, console: Console | None = None
) -> None:
    """Show what ``draw`` gives every two seconds. What cannot be drawn now is said and tried again."""
    stop = stop or threading.Event()
    with Live(console=console or Console(), auto_refresh=False, screen=False) as live:
        try:
            while True:
                live.update(_drawn(draw), refresh=True)
                if stop.wait(SECONDS):
                    return
        except KeyboardInterrupt:
            return


def _drawn(draw: Callable[[], RenderableType]) -> RenderableType:
    try:
        return draw()
    except PhenofedError as error:
        return Text(str(error), style="yellow")
