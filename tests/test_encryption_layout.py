"""Packing and the diagonal method, over a stand-in for the library that computes on clear slots."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encryption.evaluator import admit, evaluate, prepare
from common.encryption.gallery_rows import GalleryRows
from common.errors import EncryptionError
from common.ranking.kernel import rbf_coefficients
from tests.encryption_panel import Layout, unit

COEFFICIENTS = rbf_coefficients(0.5)


class ClearScheme:
    """Slots in clear. It exists in tests only."""

    def __init__(self, layout):
        self.parameters = layout.parameters
        self.allowed = set(layout.rotations)

    def admit(self, payload, keys):
        return 2 * payload

    def encode(self, slots, *, level, scale):
        return slots if np.any(slots) else None

    def rotate(self, ciphertext, step, keys):
        assert step in self.allowed
        return np.roll(ciphertext, -step)

    def inner_product(self, ciphertexts, plaintexts):
        products = [c * p for c, p in zip(ciphertexts, plaintexts, strict=True)]
        return sum(products) if products else None

    def add(self, first, second):
        first += second

    def add_plain(self, ciphertext, slots):
        ciphertext += slots

    def multiply(self, first, second, keys):
        return first * second

    def rescale(self, ciphertext):
        pass


def evaluated(layout, gallery, queries, *, moved=0.0):
    """(blocks, M) slots of the answer."""
    scheme = ClearScheme(layout)
    query = admit(scheme, layout.pack(queries), None)
    blocks = evaluate(scheme, prepare(scheme, layout, gallery), query, None, moved=moved)._blocks
    return np.stack([np.zeros(layout.parameters.slots) if block is None else block for block in blocks])


@st.composite
def layouts(draw, kernel="linear"):
    length = draw(st.integers(1, 600))
    lanes = Layout(length, 1, 1).lanes
    queries = draw(st.sampled_from([1 << power for power in range(lanes.bit_length())]))
    return Layout(length, draw(st.integers(1, 900)), queries, kernel)


def patients(generator, layout, count):
    """Quadratic rows of patients, many of a few syndromes and few of most, and their (S, n) weights."""
    syndromes = np.minimum(generator.geometric(0.05, count) - 1, layout.rows - 1)
    weights = generator.uniform(0.1, 1, count)
    rows = GalleryRows(unit(generator, count, layout.dimension), syndromes, weights, COEFFICIENTS)
    by_syndrome = np.zeros((layout.rows, count))
    by_syndrome[syndromes, np.arange(count)] = weights
    return rows, by_syndrome


def quadratic_scores(rows, by_syndrome, queries):
    a0, a1, a2 = rows.coefficients
    cosines = queries @ rows.matrix.T
    return (a0 + a1 * cosines + a2 * cosines**2) @ by_syndrome.T


@given(layout=layouts(), seed=st.integers(0, 1000), density=st.sampled_from([0.02, 0.5, 1.0]))
@settings(max_examples=25, deadline=None)
def test_every_layout_gives_every_score_in_its_place(layout, seed, density):
    generator = np.random.default_rng(seed)
    rows = unit(generator, layout.rows, layout.dimension).astype(np.float64)
    rows[generator.random(layout.rows) > density] = 0
    queries = unit(generator, generator.integers(1, layout.queries + 1), layout.dimension).astype(np.float64)
    scores = layout.unpack(evaluated(layout, rows, queries))
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
    scores = np.sort(np.append(queries @ rows.T, 0.0))
    assert_all_among(evaluated(layout, rows, queries), scores)


def assert_all_among(slots, scores):
    place = np.clip(np.searchsorted(scores, slots), 1, len(scores) - 1)
    assert np.minimum(np.abs(scores[place] - slots), np.abs(scores[place - 1] - slots)).max() < 1e-9


@given(layout=layouts("quadratic"), count=st.integers(0, 900), seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_every_quadratic_layout_gives_every_class_sum_and_nothing_else(layout, count, seed):
    generator = np.random.default_rng(seed)
    rows, by_syndrome = patients(generator, layout, count)
    queries = unit(generator, layout.queries, layout.dimension).astype(np.float64)
    slots = evaluated(layout, rows, queries)
    expected = quadratic_scores(rows, by_syndrome, queries)
    assert layout.unpack(slots) == pytest.approx(expected, abs=1e-9)
    assert_all_among(slots, np.sort(np.append(expected, [0.0, 0.0])))


def test_the_keys_of_the_quadratic_kernel_do_not_depend_on_how_many_patients_a_silo_has():
    """They are made by the querier, before and without knowing; the answer's size does not show it either."""
    layout = Layout(512, 300, 1, "quadratic")
    generator = np.random.default_rng(0)
    for count in (1, 100, 3000):
        rows, _ = patients(generator, layout, count)
        assert evaluated(layout, rows, np.zeros((1, 512))).shape == (layout.blocks, layout.parameters.slots)


@given(layout=layouts(), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_the_slots_of_a_row_are_those_that_its_score_is_read_from_in_every_copy(layout, seed):
    generator = np.random.default_rng(seed)
    values = generator.uniform(1, 2, layout.rows)
    slots = layout.spread(values)
    assert layout.unpack(slots) == pytest.approx(np.tile(values, (layout.queries, 1)))
    rows = np.tile(values[:, None], (1, layout.dimension))
    queries = np.full((layout.queries, layout.dimension), 1 / layout.dimension)
    assert evaluated(layout, rows, queries) == pytest.approx(slots, abs=1e-9)


def test_closing_rows_takes_them_out_of_both_kernels():
    generator = np.random.default_rng(1)
    layout = Layout(64, 40, 4, "quadratic")
    rows, _ = patients(generator, layout, 300)
    queries = unit(generator, 4, 64).astype(np.float64)
    before, after = (layout.unpack(evaluated(layout, one, queries)) for one in (rows, rows.without({3, 5})))
    assert np.all(after[:, [3, 5]] == 0)
    kept = np.delete(np.arange(40), [3, 5])
    assert after[:, kept] == pytest.approx(before[:, kept])
    linear = GalleryRows(unit(generator, 40, 64)).without([3, 5])
    assert not np.any(linear.matrix[[3, 5]])
    assert np.all(np.linalg.norm(linear.matrix[kept], axis=1) > 0.9)


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
    sizes = [(128, 90, 8), (128, 91, 8), (128, 90, 4), (100, 90, 8), (128, 90, 8, "quadratic")]
    assert len({Layout(*one).digest for one in sizes}) == len(sizes)
    for one in sizes:
        assert Layout.from_json(Layout(*one).to_json()) == Layout(*one)


@pytest.mark.parametrize(
    "change",
    [{"rows": "90"}, {"rows": True}, {"rows": 0}, {"queries": 3}, {"kernel": "cubic"}, {"kernel": ["linear"]}],
)
def test_a_description_that_is_no_layout_is_refused(change):
    with pytest.raises(EncryptionError):
        Layout.from_json(Layout(128, 90, 8).to_json() | change)
    with pytest.raises(EncryptionError):
        Layout.from_json([])


def test_queries_and_rows_of_another_shape_are_refused():
    layout = Layout(64, 10, 2)
    for shape in [(3, 64), (0, 64), (1, 63)]:
        with pytest.raises(EncryptionError):
            layout.pack(np.ones(shape))
    with pytest.raises(EncryptionError):
        prepare(ClearScheme(layout), layout, np.ones((9, 64)))


@pytest.mark.parametrize(
    "given",
    [
        {"syndromes": None, "weights": None, "coefficients": None},
        {"matrix": np.ones((2, 63))},
        {"syndromes": [0, 10]},
        {"coefficients": (0.1, 1.0, 0.0)},
    ],
)
def test_rows_that_the_quadratic_layout_cannot_take_are_refused(given):
    layout = Layout(64, 10, 2, "quadratic")
    good = {"matrix": np.ones((2, 64)), "syndromes": [0, 9], "weights": [0.5, 1.0], "coefficients": COEFFICIENTS}
    with pytest.raises(EncryptionError):
        prepare(ClearScheme(layout), layout, GalleryRows(**good | given))


@pytest.mark.parametrize(
    "given",
    [
        {"matrix": np.full((2, 3), np.nan)},
        {"syndromes": [0, -1]},
        {"syndromes": [0]},
        {"weights": [1.0, np.inf]},
        {"weights": None},
        {"coefficients": None},
    ],
)
def test_gallery_rows_that_fit_no_kernel_are_refused(given):
    good = {"matrix": np.ones((2, 3)), "syndromes": [0, 9], "weights": [0.5, 1.0], "coefficients": COEFFICIENTS}
    with pytest.raises(EncryptionError):
        GalleryRows(**good | given)


def test_gallery_rows_reach_a_worker_as_they_are():
    generator = np.random.default_rng(2)
    rows, _ = patients(generator, Layout(8, 10, 1, "quadratic"), 20)
    for one in (rows, GalleryRows(unit(generator, 5, 8))):
        head, parts = one.to_parts()
        again = GalleryRows.from_parts(json.loads(json.dumps(head)), parts)
        assert np.array_equal(again.matrix, one.matrix)
        assert again.coefficients == one.coefficients
        if one.weights is not None:
            assert np.array_equal(again.weights, one.weights)
            assert np.array_equal(again.syndromes, one.syndromes)
