"""What a silo remembers of the queries it answered, and what it charges for them.

The order is part of the protocol: a query is looked up, charged, computed, stored, and only then answered. A query
that comes again gets the stored bytes: fresh noise for old queries would average out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

from common.encryption.refusal import refused
from common.errors import DisclosureError

STORED_BYTES = 16 << 20


class Answers(Protocol):
    """One querier's account at one silo. All methods may be called from several threads at once."""

    def find(self, message_id: bytes, bound_to: bytes) -> bytes | None:
        """The stored answer to a query that comes again, None for one that has none yet.

        Raises:
            EncryptionError: the message id was used for another query, or its answer is no longer stored.
        """

    def reserve(self, message_id: bytes, bound_to: bytes, units: int) -> None:
        """Charge a query, once however often it is called; before anything is computed.

        Raises:
            DisclosureError: the budget does not cover it.
            EncryptionError: the message id was used for another query.
        """

    def put(self, message_id: bytes, bound_to: bytes, answer: bytes) -> None:
        """Store an answer for good; it may be sent afterwards."""


class MemoryAnswers:
    """``Answers`` of a simulation, gone with the process.

    Args:
        budget: units that may be charged; None for no limit.
        limit: bytes of answers to keep, the newest; an older query that comes again is refused.
    """

    def __init__(self, *, budget: int | None = None, limit: int = STORED_BYTES) -> None:
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._charged: dict[bytes, bytes] = {}
        self._dropped: set[bytes] = set()
        self._budget, self._limit = budget, limit
        self._size = self._used = 0
        self._lock = threading.Lock()

    def find(self, message_id: bytes, bound_to: bytes) -> bytes | None:
        """See ``Answers.find``."""
        with self._lock:
            self._check(message_id, bound_to)
            return self._answers.get(message_id)

    def reserve(self, message_id: bytes, bound_to: bytes, units: int) -> None:
        """See ``Answers.reserve``."""
        with self._lock:
            self._check(message_id, bound_to)
            if message_id in self._charged:
                return
            if self._budget is not None and self._used + units > self._budget:
                raise DisclosureError(
                    f"the query needs {units} units and {self._budget - self._used} are left",
                    remedy="ask fewer queries, or wait until the budget renews",
                )
            self._used += units
            self._charged[message_id] = bound_to

    def put(self, message_id: bytes, bound_to: bytes, answer: bytes) -> None:
        """See ``Answers.put``."""
        with self._lock:
            self._check(message_id, bound_to)
            self._charged[message_id] = bound_to
            self._answers[message_id] = answer
            self._size += len(answer)
            while self._size > self._limit and len(self._answers) > 1:
                oldest, dropped = self._answers.popitem(last=False)
                self._dropped.add(oldest)
                self._size -= len(dropped)

    def _check(self, message_id: bytes, bound_to: bytes) -> None:
        if message_id in self._dropped or self._charged.get(message_id, bound_to) != bound_to:
            raise refused()
