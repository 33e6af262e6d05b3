"""What the encryption tests share: unit vectors, small panels, and a scheme in this process."""

from __future__ import annotations

import numpy as np

from common.consortium.identity import Member
from common.encryption.evaluator import admit, evaluate, prepare
from common.encryption.layout import Layout
from common.encryption.masks import MaskKey, mask_key
from common.encryption.panel import Panel, pair_key
from common.encryption.sanitise import Noise, sanitise
from common.ranking.kernel import Prototypes


def unit(generator, rows, length):
    """(rows, length) float32 unit rows."""
    matrix = generator.normal(size=(rows, length))
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def prototypes(generator, syndromes, length, *, silos, held=0.6):
    """Silos that hold a part of the syndromes each, by name."""
    found = {}
    for number in range(silos):
        kept = [name for name in syndromes if generator.random() < held] or [syndromes[0]]
        counts = generator.integers(1, 9, len(kept))
        found[f"silo-{number}"] = Prototypes(tuple(kept), unit(generator, len(kept), length), counts)
    return found


NOISELESS = Noise(0.0)


class Host:
    """One silo in this process, without envelopes: what the attacks look at closely."""

    def __init__(self, scheme, keys, layout, rows):
        self.scheme, self.keys = scheme, keys
        self.rows = np.asarray(rows, dtype=np.float64)
        self.gallery = prepare(scheme, layout, self.rows)

    def respond(self, payload, *, mask_keys=(), noise=NOISELESS, closed=()):
        query = admit(self.scheme, payload, self.keys)
        evaluation = evaluate(self.scheme, self.gallery, query, self.keys)
        response = sanitise(self.scheme, evaluation, self.keys, mask_keys=mask_keys, noise=noise, closed=closed)
        return response.payload


def silo_panel(names, *, gallery_epoch="1"):
    """Members by name, the querier, and a panel of them."""
    members = {name: Member(name) for name in names}
    querier = Member("querier")
    cards = tuple(member.card for member in members.values())
    return members, querier, Panel(cards, querier.card, gallery_epoch)


def pair_masks(members, panel, name, bound_to):
    """The mask keys of one silo for one transcript."""
    pairs = [(sign, pair_key(members[name], card, panel)) for sign, card in panel.others(name)]
    return [MaskKey(mask_key(pair, bound_to), sign) for sign, pair in pairs]


def blocks_of(payload, layout):
    """The blocks of an answer."""
    size = len(payload) // layout.blocks
    return [payload[start : start + size] for start in range(0, len(payload), size)]


def decrypt(scheme, secret, layout, payloads):
    """(blocks, M) complex slots of the sum of answers: all that the holder of the key can see."""
    parts = zip(*(blocks_of(payload, layout) for payload in payloads), strict=True)
    return np.stack([scheme.decrypt_sum(part, secret) for part in parts])


__all__ = ["Host", "Layout", "blocks_of", "decrypt", "pair_masks", "prototypes", "silo_panel", "unit"]
