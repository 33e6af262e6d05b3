"""One silo's answers by the clock: ``python -m common.encryption.measuring FOLDER``, for benchmarks only.

Requests come as lines of JSON on standard input, answers leave as lines of JSON. The process holds secret keys and
a silo's rows together, made from a seed, which no service ever does.

    {"do": "prepare", "layout": {...}, "patients": 0, "noise": [1e-6, false], "seed": 0}
    {"do": "answer", "times": 4}
    {"do": "agree", "times": 4}
    {"do": "mm"}
    {"do": "clear", "times": 4}
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.encryption.evaluator import admit, evaluate, prepare
from common.encryption.gallery_rows import GalleryRows
from common.encryption.layout import Layout
from common.encryption.masks import KEY_BYTES, MaskKey
from common.encryption.sanitise import Noise, sanitise
from common.encryption.scheme import Scheme
from common.encryption.seal import SealScheme
from common.encryption.sizes import block_bytes
from common.ranking.kernel import rbf_coefficients

PEERS = 2
"""Other silos of the panel, whose masks are added."""

Matrix = npt.NDArray[np.float64]


class Measured:
    """A gallery of random unit rows under keys of its own.

    Args:
        patients: for the quadratic kernel, rows spread over the syndromes at random; the linear kernel has a row a
            syndrome.
    """

    def __init__(self, folder: Path, layout: Layout, *, patients: int, noise: Noise, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._layout, self._noise = layout, noise
        self._scheme: Scheme = SealScheme(folder, layout.parameters)
        self._secret, public = self._scheme.make_keys(layout.rotations)
        self._keys = self._scheme.load_keys(public, layout.rotations)
        self.rows = self._unit(layout.rows)
        self.weights: Matrix | None = None
        self.coefficients = (0.0, 1.0, 0.0)
        gallery = GalleryRows(self.rows)
        if layout.kernel == "quadratic":
            self.rows, syndromes = self._unit(patients), self._random.integers(0, layout.rows, patients)
            self.coefficients = rbf_coefficients(0.5)
            share = 1 / np.bincount(syndromes, minlength=layout.rows)[syndromes]
            self.weights = np.zeros((layout.rows, patients))
            self.weights[syndromes, np.arange(patients)] = share
            gallery = GalleryRows(self.rows, syndromes, share, self.coefficients)
        self.gallery = prepare(self._scheme, layout, gallery)

    def answer(self, times: int) -> list[tuple[float, float]]:
        """(seconds, CPU-seconds) of each answer to a query ciphertext: admitted, evaluated, sanitised."""
        payload = self._encrypt(self._unit(self._layout.queries))
        return [clocked(lambda: self._respond(payload, self._noise, PEERS))[:2] for _ in range(times)]

    def agree(self, times: int) -> tuple[float, float]:
        """(largest error without noise, share of the first ten that noise leaves among them)."""
        error, same = 0.0, []
        for _ in range(times):
            queries = self._unit(self._layout.queries)
            payload, expected = self._encrypt(queries), self.in_clear(queries)
            exact, noisy = (self._read(self._respond(payload, noise)) for noise in (Noise(0.0), self._noise))
            error = max(error, float(np.abs(exact - expected).max()))
            first, second = (np.argsort(-scores, axis=1)[:, :10] for scores in (noisy, expected))
            same += [len(set(one) & set(other)) / len(one) for one, other in zip(first, second, strict=True)]
        return error, float(np.mean(same))

    def clear(self, times: int) -> list[tuple[float, float]]:
        """(seconds, CPU-seconds) of numpy for as many queries as a ciphertext has."""
        queries = self._unit(self._layout.queries)
        return [clocked(lambda: self.in_clear(queries))[:2] for _ in range(times)]

    def mm(self) -> tuple[float, float]:
        """(seconds, CPU-seconds) of TenSEAL's own product for one query.

        Raises:
            ValueError: its scores are other ones.
        """
        from common.encryption import baselines

        query = self._unit(1)
        seconds, processor, scores = clocked(baselines.product(self.rows, query[0]))
        if np.abs(scores - self.rows @ query[0]).max() > 1e-4:
            raise ValueError("mm gives other scores")
        return seconds, processor

    def in_clear(self, queries: Matrix) -> Matrix:
        """(n, S): the formula of ``common.ranking.kernel`` on these rows."""
        a0, a1, a2 = self.coefficients
        cosines = queries @ self.rows.T
        if self.weights is None:
            return cosines
        return np.asarray((a0 + a1 * cosines + a2 * cosines**2) @ self.weights.T)

    def _respond(self, payload: bytes, noise: Noise, peers: int = 0) -> bytes:
        masks = [MaskKey(bytes([number]) * KEY_BYTES, 1) for number in range(peers)]
        query = admit(self._scheme, payload, self._keys)
        evaluation = evaluate(self._scheme, self.gallery, query, self._keys, moved=noise.moved)
        return sanitise(self._scheme, evaluation, self._keys, mask_keys=masks, noise=noise).payload

    def _read(self, answer: bytes) -> Matrix:
        size = block_bytes(self._layout.parameters)
        parts = [answer[start : start + size] for start in range(0, len(answer), size)]
        slots = np.stack([self._scheme.decrypt_sum([part], self._secret).real for part in parts])
        return self._layout.unpack(slots)

    def _encrypt(self, queries: Matrix) -> bytes:
        return self._scheme.encrypt(self._layout.pack(queries), self._secret)

    def _unit(self, count: int) -> Matrix:
        rows = self._random.normal(size=(count, self._layout.dimension))
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def clocked(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """(seconds on the clock, CPU-seconds of this process, what ``work`` gave)."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - processor, result


def main(arguments: Sequence[str]) -> None:
    """Answer requests until the input ends."""
    measured: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        what = request.pop("do")
        if what == "prepare":
            answer, _, measured = clocked(partial(_prepare, Path(arguments[0]), **request))
        else:
            answer = getattr(measured, what)(**request)
        print(json.dumps(answer), flush=True)


def _prepare(folder: Path, *, layout: dict[str, Any], patients: int, noise: list[Any], seed: int) -> Measured:
    return Measured(folder, Layout.from_json(layout), patients=patients, noise=Noise(*noise), seed=seed)


if __name__ == "__main__":
    main(sys.argv[1:])
