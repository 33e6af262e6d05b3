"""Packing and the diagonal method, over a stand-in for the library that computes on clear slots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encryption.evaluator import admit, evaluate, prepare
from common.encryption.parameters import LINEAR
from common.errors import EncryptionError
from tests.encryption_panel import Layout, unit


class ClearScheme:
    """Slots in clear. It exists in tests only."""

    parameters = LINEAR

    def __init__(self, allowed):
        self.allowed = set(allowed)

    def admit(self, payload, keys):
        return 2 * payload

    def encode(self, slots):
        return slots if np.any(slots) else None

    def rotate(self, ciphertext, step, keys):
        assert step in self.allowed
        return np.roll(ciphertext, -step)

    def inner_product(self, ciphertexts, plaintexts):
        products = [c * p for c, p in zip(ciphertexts, plaintexts, strict=True)]
        return sum(products) if products else None

    def add(self, first, second):
        first += second

    def to_last_level(self, ciphertext):
        pass


@st.composite
def layouts(draw):
    length = draw(st.integers(1, 600))
    lanes = Layout(length, 1, 1).lanes
    queries = draw(st.sampled_from([1 << power for power in range(lanes.bit_length())]))
    return Layout(length, draw(st.integers(1, 900)), queries)


@given(layout=layouts(), seed=st.integers(0, 1000), density=st.sampled_from([0.02, 0.5, 1.0]))
@settings(max_examples=25, deadline=None)
def test_every_layout_gives_every_score_in_its_place(layout, seed, density):
    generator = np.random.default_rng(seed)
    rows = unit(generator, layout.rows, layout.dimension).astype(np.float64)
    rows[generator.random(layout.rows) > density] = 0
    queries = unit(generator, generator.integers(1, layout.queries + 1), layout.dimension).astype(np.float64)
    scheme = ClearScheme(layout.rotations)
    query = admit(scheme, layout.pack(queries), None)
    found = evaluate(scheme, prepare(scheme, layout, rows), query, None)._blocks
    slots = np.stack([np.zeros(LINEAR.slots) if block is None else block for block in found])
    scores = layout.unpack(slots)
    assert scores.shape == (layout.queries, layout.rows)
    assert scores[: len(queries)] == pytest.approx(queries @ rows.T, abs=1e-9)
    assert not np.any(scores[len(queries) :])


@given(layout=layouts(), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_no_slot_holds_anything_but_a_whole_score(layout, seed):
    """A partial inner product in an unused slot would tell the querier more than the scores do."""
    generator = np.random.default_rng(seed)
    rows = unit(generator, layout.rows, layout.dimension).astype(np.float64)
    queries = unit(generator, layout.queries, layout.dimension).astype(np.float64)
    scheme = ClearScheme(layout.rotations)
    query = admit(scheme, layout.pack(queries), None)
    blocks = evaluate(scheme, prepare(scheme, layout, rows), query, None)._blocks
    scores = np.sort(np.append(queries @ rows.T, 0.0))
    for block in blocks:
        place = np.clip(np.searchsorted(scores, block), 1, len(scores) - 1)
        nearest = np.minimum(np.abs(scores[place] - block), np.abs(scores[place - 1] - block))
        assert nearest.max() < 1e-9


def test_a_batch_of_eight_and_a_single_query_need_few_rotations():
    batch, single = Layout(512, 300, 8), Layout(512, 300, 1)
    assert (len(batch.rotations), batch.blocks) == (46, 1)
    assert (len(single.rotations), single.blocks) == (17, 1)


@pytest.mark.parametrize(
    "sizes", [(0, 10, 1), (2049, 10, 1), (128, 0, 1), (128, 70000, 1), (128, 9, 3), (512, 9, 16)]
)
def test_sizes_that_no_ciphertext_holds_are_refused(sizes):
    with pytest.raises(EncryptionError):
        Layout(*sizes)


def test_layouts_that_differ_have_different_digests():
    found = {Layout(*sizes).digest for sizes in [(128, 90, 8), (128, 91, 8), (128, 90, 4), (100, 90, 8)]}
    assert len(found) == 4


def test_queries_and_rows_of_another_shape_are_refused():
    layout = Layout(64, 10, 2)
    for shape in [(3, 64), (0, 64), (1, 63)]:
        with pytest.raises(EncryptionError):
            layout.pack(np.ones(shape))
    with pytest.raises(EncryptionError):
        prepare(ClearScheme([]), layout, np.ones((9, 64)))
