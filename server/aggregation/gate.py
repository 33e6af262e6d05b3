"""The update gate: what an update must satisfy before it may touch the shared model.

A single NaN destroys every aggregation rule, so nothing is summed that has not passed here.
"""

from __future__ import annotations

import numpy as np

from common.consortium.identity import Card
from common.records import Parameters, Update, norm


def refusal(
    update: Update,
    *,
    received: Parameters,
    run: str,
    round: int,
    silo: str,
    max_norm: float | None,
    card: Card | None = None,
    protocol: int = 1,
) -> str | None:
    """Why ``update`` may not be aggregated, or None.

    Args:
        received: the parameters that were sent out; keys and shapes must match.
        silo: who the update must come from.
        max_norm: largest Euclidean norm of the whole delta; None for no bound.
        card: whose signature the update must bear; None in simulations.
        protocol: of training, that the silo was asked in.
    """
    if update.silo != silo:
        return f"it names another silo ('{update.silo}')"
    if (update.run, update.round) != (run, round):
        return f"it belongs to run {update.run}, round {update.round}"
    if update.protocol != protocol:
        return f"it answers in version {update.protocol} of the training protocol, and was asked in {protocol}"
    if card is not None and not signed_by(card, update.signature, update.statement):
        return "it does not bear the silo's signature"
    if update.patients < 1 or update.photos < update.patients:
        return f"it counts {update.patients} patients and {update.photos} photos"
    if not np.isfinite(update.loss):
        return "its loss is not finite"
    if set(update.delta) != set(received):
        missing, extra = sorted(set(received) - set(update.delta)), sorted(set(update.delta) - set(received))
        return f"parameters missing {missing[:3]}, unknown {extra[:3]}"
    for name, value in received.items():
        if update.delta[name].shape != value.shape:
            return f"parameter '{name}' has shape {update.delta[name].shape}, not {value.shape}"
    length = norm(update.delta)
    if not np.isfinite(length):
        return "a parameter is not finite"
    if max_norm is not None and length > max_norm:
        return f"its norm {length:.3g} exceeds {max_norm:.3g}"
    return None


def signed_by(card: Card, signature: str, statement: bytes) -> bool:
    """Whether ``signature`` (hexadecimal) is that member's over ``statement``."""
    try:
        return card.verifies(bytes.fromhex(signature), statement)
    except ValueError:
        return False
