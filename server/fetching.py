"""Fetching replies so that one which never comes whole holds up nobody.

Flower gives a reply's message before its arrays are there, and then waits for them: up to five minutes where the
sender died in the middle of its upload (1.41), whatever else could be fetched meanwhile.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Reply = TypeVar("Reply")


def fetched(
    fetch: Callable[[str], Iterable[Reply]], wanted: Sequence[str], *, seconds: float, pause: float
) -> Iterator[Reply]:
    """Each reply as it comes, until the deadline or until nobody asks for more.

    A thread fetches one message's reply; what is not whole at the deadline is left to its thread.

    Args:
        fetch: gives the reply to one message once it is there, nothing before.
        pause: seconds from one look for any reply to the next.

    Raises:
        Exception: whatever ``fetch`` raised.
    """
    found: queue.SimpleQueue[Reply | Exception] = queue.SimpleQueue()
    enough = threading.Event()

    def look(message: str) -> None:
        try:
            while not enough.is_set():
                if replies := list(fetch(message)):
                    for reply in replies:
                        found.put(reply)
                    return
                enough.wait(pause * len(wanted))
        except Exception as error:
            found.put(error)

    end = time.monotonic() + seconds
    for message in wanted:
        threading.Thread(target=look, args=(message,), name="reply", daemon=True).start()
    try:
        while True:
            try:
                reply = found.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return
            if isinstance(reply, Exception):
                raise reply
            yield reply
    finally:
        enough.set()
