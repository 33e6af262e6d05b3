"""A cross-silo Gram block: seconds a million entries, beside the library's scalar loop and numpy in clear.

On synthetic rows, for hospitals refuse blocks of this size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from simulations.benchmarks.bench import Measured
from simulations.benchmarks.clock import Samples, clocked, repeated

if TYPE_CHECKING:
    from common.encryption.seal import SealScheme

ROWS, PATIENTS, DIMENSION = 4096, 256, 512
NOISE = 1e-6


def measure_gram(folder: Path, *, repeat: int = 3, say: Callable[[str], None] = lambda line: None) -> Measured:
    """``gram_s_per_million``: CPU-seconds of product and sanitising a million entries, one thread.

    ``gram_vs_scalar``: how often that goes into the scalar loop at degree 8192 with rescaling, as the library is
    meant to be used; ``gram_vs_scalar_same_ring``: the same at this block's own, smaller parameters. The loop does
    not sanitise. ``gram_rms_error``, ``gram_max_abs_error``: against numpy, noise of 1e-6 included.

    Args:
        folder: private and empty.
    """
    from common.encryption.gram import admit_columns, ask, evaluate_block, read_block, sanitise_block
    from common.encryption.gram_layout import GRAM, GramLayout
    from common.encryption.gram_seal import GramScheme
    from common.encryption.parameters import LINEAR
    from common.encryption.seal import SealScheme

    generator = np.random.default_rng(0)
    rows, patients = _unit(generator, ROWS), _unit(generator, PATIENTS)
    scheme, layout = GramScheme(folder), GramLayout(DIMENSION, ROWS, PATIENTS)
    say(f"encrypting {ROWS} rows of length {DIMENSION}")
    secret = scheme.make_secret()
    asked, payload = clocked(lambda: ask(scheme, rows, secret))
    columns = admit_columns(scheme, payload, layout)
    say(f"a block of {ROWS} x {PATIENTS}, {repeat} repetitions")
    product = _per_million(repeated(repeat, lambda: evaluate_block(columns, patients)), PATIENTS * ROWS)
    both = _per_million(
        repeated(repeat, lambda: sanitise_block(scheme, evaluate_block(columns, patients), noise=NOISE)),
        PATIENTS * ROWS,
    )
    answer = sanitise_block(scheme, evaluate_block(columns, patients), noise=NOISE)
    error = read_block(scheme, answer, layout, secret) - patients @ rows.T
    clear = _per_million(repeated(repeat, lambda: patients @ rows.T), PATIENTS * ROWS)
    say("the library's scalar loop")
    usual = _scalar(SealScheme(folder, LINEAR), rows, patients[0], repeat)
    same = _scalar(SealScheme(folder, GRAM), rows, patients[0], repeat)
    figures = {
        "gram_s_per_million": both,
        "gram_vs_scalar": usual / both,
        "gram_vs_scalar_same_ring": same / both,
        "gram_rms_error": float(np.sqrt(np.mean(error**2))),
        "gram_max_abs_error": float(np.abs(error).max()),
        "gram_down_bytes_per_entry": len(answer) / (ROWS * PATIENTS),
    }
    return Measured(
        figures,
        ("Gram block, d = 512", "CPU-s a million entries", "times slower"),
        (
            ("integer product and sanitising", f"{both:.2f}", "1"),
            ("integer product alone", f"{product:.2f}", f"{product / both:.2f}"),
            ("scalar loop, degree 8192, not sanitised", f"{usual:.1f}", f"{usual / both:.0f}"),
            ("scalar loop, degree 4096, not sanitised", f"{same:.1f}", f"{same / both:.0f}"),
            ("numpy in clear", f"{clear:.3f}", f"{clear / both:.3f}"),
        ),
        (f"Encrypting the {ROWS} rows took {asked:.1f} CPU-s, {len(payload) / 1e6:.1f} MB up.",),
    )


def _scalar(
    scheme: SealScheme, rows: npt.NDArray[np.float64], patient: npt.NDArray[np.float64], repeat: int
) -> float:
    from common.encryption.gram_scalar import ScalarBlock

    fitting = rows[: scheme.parameters.slots]
    block = ScalarBlock(scheme, fitting)
    return _per_million(repeated(repeat, lambda: block.product(patient)), len(fitting))


def _per_million(samples: Samples, entries: int) -> float:
    return samples.median / entries * 1e6


def _unit(generator: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    matrix = generator.normal(size=(count, DIMENSION))
    found: npt.NDArray[np.float64] = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return found
