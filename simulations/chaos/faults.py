"""The faults, and which of them a seed meets: cards of a pack that is shuffled anew whenever it is used up."""

from __future__ import annotations

import numpy as np

from common.errors import ConfigError

PROCESS_FAULTS = {
    "silo killed while training": "agent, Flower node or both get SIGKILL while a round trains",
    "silo killed while uploading": "agent and node get SIGKILL when half of an update's bytes have left",
    "SuperLink killed": "SIGKILL between the mean and the renaming of the checkpoint; the ServerApp lives on",
    "coordinator killed before checkpoint": "SIGKILL to all its processes, the checkpoint written but not renamed",
    "coordinator killed after checkpoint": "SIGKILL after the renaming; SuperLink and ServerApp are left behind",
    "relay killed": "SIGKILL while a patient is ranked",
    "straggler": "an agent stands still until the deadline has passed",
    "half of the silos gone": "agents and nodes of half of the silos get SIGKILL at once",
    "partition": "a silo's connections break, and it is cut off for ten seconds",
    "disk full at a silo": "no byte can be written in a silo's workspace during a round",
    "disk full at the coordinator": "no byte can be written in the run's folder when the checkpoint is due",
    "expired certificate": "a silo is shown a coordinator's certificate that has ended",
    "clock behind": "a silo is shown a certificate that begins tomorrow, as one whose clock is a day late sees it",
    "damaged on the wire": "a bit of an update flips, or its second half is missing, inside the connection",
    "sent twice on the wire": "each message with an update reaches the SuperLink twice",
    "dishonest node": "a node alters its agent's update: one of the alterations, in turn",
}
"""What happens to real processes, by name."""

MESSAGE_FAULTS = {
    "truncated": "an array ends early",
    "bit flipped": "one bit of an array",
    "older round": "the update of an earlier round, as it was signed",
    "other run": "the update of another run, as it was signed",
    "duplicate": "the reply comes twice",
    "not a number": "signed by the silo itself",
    "wrong shape": "signed by the silo itself",
    "oversize": "a norm far beyond the bound, signed by the silo itself",
    "unknown parameter": "eight megabytes more than asked for, signed by the silo itself",
    "other silo": "another silo's update under its own name",
    "older peer": "a message of a protocol before this one",
    "no message": "bytes without the agreed form",
    "late": "no reply before the deadline",
}
"""What happens to a reply, by name; each in each seed."""

DISHONEST = ("truncated", "bit flipped", "older round", "not a number", "wrong shape", "oversize", "older peer")
"""What a dishonest node does, in turn."""


def drawn(seed: int, faults: tuple[str, ...], each: int) -> tuple[str, ...]:
    """The faults of a seed, one a round; any ``len(faults)`` cards in a row from a pack's start are all faults.

    So ``n`` seeds from 0 on meet each fault at least ``floor(n * each / len(faults))`` times.
    """
    places = range(seed * each, (seed + 1) * each)
    return tuple(_pack(place // len(faults), faults)[place % len(faults)] for place in places)


def chosen(names: str) -> tuple[str, ...]:
    """The process faults in a comma-separated list; all of them for "all".

    Raises:
        ConfigError: one is unknown.
    """
    if names == "all":
        return tuple(PROCESS_FAULTS)
    wanted = tuple(name.strip() for name in names.split(","))
    unknown = [name for name in wanted if name not in PROCESS_FAULTS]
    if unknown:
        raise ConfigError(f"no fault '{unknown[0]}' is known", remedy=f"choose of: {', '.join(PROCESS_FAULTS)}")
    return wanted


def _pack(number: int, faults: tuple[str, ...]) -> list[str]:
    order = np.random.default_rng([number, len(faults)]).permutation(len(faults))
    return [faults[index] for index in order]
