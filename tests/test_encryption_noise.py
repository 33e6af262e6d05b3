"""Noise as the holder of the key sees it: on every slot, growing with the query, drowning closed rows."""

from __future__ import annotations

import numpy as np
import pytest

from common.encryption.evaluator import admit, evaluate, prepare
from common.encryption.gallery_rows import GalleryRows
from common.encryption.sanitise import DROWNED, NOISE, STRICT_NOISE, Noise, sanitise
from common.encryption.seal import SealScheme
from common.errors import EncryptionError
from common.ranking.kernel import rbf_coefficients
from tests.encryption_panel import Layout, decrypt, unit

LINEAR, QUADRATIC = Layout(64, 40, 4), Layout(64, 40, 4, "quadratic")
NONE = Noise(0.0)


class Side:
    """Keys, a gallery, and what the querier decrypts."""

    def __init__(self, folder, layout):
        generator = np.random.default_rng(0)
        self.layout, self.scheme = layout, SealScheme(folder, layout.parameters)
        self.secret, public = self.scheme.make_keys(layout.rotations)
        self.keys = self.scheme.load_keys(public, layout.rotations)
        rows = GalleryRows(unit(generator, 40, 64))
        if layout.kernel == "quadratic":
            rows = GalleryRows(rows.matrix, np.arange(40), np.ones(40), rbf_coefficients(0.5))
        self.rows = rows
        self.gallery = prepare(self.scheme, layout, rows)
        self.empty = prepare(self.scheme, layout, rows.without(range(40)))
        self.queries = unit(generator, layout.queries, 64).astype(np.float64)

    def answer(self, queries, noise, *, closed=(), gallery=None):
        """(M,) complex slots."""
        query = admit(self.scheme, self.scheme.encrypt(self.layout.pack(queries), self.secret), self.keys)
        evaluation = evaluate(self.scheme, gallery or self.gallery, query, self.keys, moved=noise.moved)
        response = sanitise(self.scheme, evaluation, self.keys, mask_keys=[], noise=noise, closed=closed)
        return decrypt(self.scheme, self.secret, self.layout, [response.payload])[0]


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    return {layout.kernel: Side(tmp_path_factory.mktemp("scheme"), layout) for layout in (LINEAR, QUADRATIC)}


def relative_error(side, noise, size):
    """How far the scores of queries of norm ``size`` are off, in units of their norm."""
    found = side.answer(size * side.queries, noise).real
    return np.std(side.layout.unpack(found[None]) - size * side.queries @ side.rows.matrix.T) / size


def test_a_longer_query_drowns_additive_noise_but_not_scaled_noise(sides):
    """In the profile standard the budget alone stands against it; strict answers a longer query no better."""
    side = sides["linear"]
    additive = Noise(1e-3)
    assert relative_error(side, additive, 1000) < 1e-2 * relative_error(side, additive, 1)
    for size in (1e-2, 1.0, 1000.0):
        assert 4e-4 < relative_error(side, STRICT_NOISE, size) < 2.5e-3


def test_a_longer_query_drowns_no_scaled_noise_of_the_quadratic_kernel(sides):
    side = sides["quadratic"]
    a0, a1, a2 = side.rows.coefficients

    def error_of_cosines(size):
        """The cosine behind each score, as the querier would solve for it."""
        scores = side.layout.unpack(side.answer(size * side.queries, STRICT_NOISE).real[None])
        expected = size * side.queries @ side.rows.matrix.T
        slope = a1 + 2 * a2 * expected
        steep = np.abs(slope) > 0.1 * size
        return np.std(((scores - (a0 + a1 * expected + a2 * expected**2)) / slope)[steep]) / size

    for size in (1.0, 8.0):
        assert 4e-4 < error_of_cosines(size) < 2.5e-3


@pytest.mark.parametrize("kernel", ["linear", "quadratic"])
def test_scaled_noise_lies_on_every_score_and_anew_each_time(sides, kernel):
    side = sides[kernel]
    exact = side.answer(side.queries, NONE)
    first, second = (side.answer(side.queries, STRICT_NOISE) - exact for _ in range(2))
    scored = side.layout.shown[0]
    assert 2e-4 < first[scored].real.std() < 2e-3
    assert np.mean(np.abs(first[scored].real) < 3e-6) < 0.02
    assert abs(np.corrcoef(first[scored].real, second[scored].real)[0, 1]) < 0.35


def test_a_query_of_one_coordinate_meets_noise_in_every_row(sides):
    """Noise from a part of the query only would leave rows clear to whoever asks with the other part."""
    side = sides["linear"]
    spread = []
    for coordinate in (0, 1, 37, 63):
        queries = np.zeros((4, 64))
        queries[:, coordinate] = 1
        blur = side.answer(queries, STRICT_NOISE, gallery=side.empty)
        blur = blur.real[side.layout.shown[0]]
        assert np.median(np.abs(blur)) > 3e-4
        spread.append(blur.std())
    assert max(spread) < 3 * min(spread)


def test_noise_scales_in_each_lane_by_itself(sides):
    side = sides["linear"]
    queries = side.queries * np.array([[100.0], [1.0], [0.01], [1.0]])
    by_query = side.layout.unpack(side.answer(queries, STRICT_NOISE, gallery=side.empty).real[None]).std(axis=1)
    assert by_query == pytest.approx([1e-1, 1e-3, 1e-5, 1e-3], rel=0.5)


def test_a_silo_without_rows_is_as_noisy_as_another(sides):
    side = sides["linear"]
    shown = side.layout.shown[0]
    full = (side.answer(side.queries, STRICT_NOISE) - side.answer(side.queries, NONE)).real[shown]
    empty = side.answer(side.queries, STRICT_NOISE, gallery=side.empty).real[shown]
    assert empty.std() == pytest.approx(full.std(), rel=0.5)


@pytest.mark.parametrize("kernel", ["linear", "quadratic"])
def test_closed_rows_are_drowned_in_every_slot_and_no_other_row_is(sides, kernel):
    """Even where the gallery still holds them, and for a query long enough to drown other noise."""
    side = sides[kernel]
    closed = np.zeros(40)
    closed[[3, 17]] = 1
    drowned = side.layout.spread(closed)[0] > 0
    exact = side.answer(side.queries, NONE)
    slots = side.answer(side.queries, NOISE, closed=[3, 17])
    assert np.abs((slots - exact).real[side.layout.shown[0] & ~drowned]).max() < 1e-5
    for part in (slots[drowned].real, slots[drowned].imag):
        assert part.std() == pytest.approx(DROWNED * side.scheme.parameters.answer_range, rel=0.3)
    assert np.abs(slots[drowned]).min() > 1e-2


def test_an_evaluation_made_without_the_profiles_noise_is_not_released(sides):
    side = sides["linear"]
    query = admit(side.scheme, side.scheme.encrypt(side.layout.pack(side.queries), side.secret), side.keys)
    evaluation = evaluate(side.scheme, side.gallery, query, side.keys)
    with pytest.raises(EncryptionError, match="noise"):
        sanitise(side.scheme, evaluation, side.keys, mask_keys=[], noise=STRICT_NOISE)


@pytest.mark.parametrize("given", [(-1e-6, False), (np.nan, False), (np.inf, True), (0.0, True), (1e-9, True)])
def test_noise_that_means_nothing_is_refused(given):
    with pytest.raises(EncryptionError, match="deviation"):
        Noise(*given)
