"""What phenofed costs: one file a benchmark, each with ``measure(bench) -> Measured``. Driven by ``bench_cli``.

All run on synthetic faces and the shipped thin weights unless another scenario is given. Figures are CPU-seconds
of this process, so that a busy machine does not change them; see ``clock``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import ConfigError

if TYPE_CHECKING:
    from simulations.benchmarks.bench import Bench, Measured

ALL = "all"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark by the module that measures it, imported when it runs.

    ``key`` is the figure that the benchmark is for; it may give others beside it.
    """

    summary: str
    module: str
    key: str

    def measure(self, bench: Bench) -> Measured:
        """Run it over the bench's scenario."""
        measured: Measured = importlib.import_module(self.module).measure(bench)
        return measured


BENCHMARKS: Mapping[str, Benchmark] = {
    "training": Benchmark(
        "a federated inline run beside a plain PyTorch loop over the same batches",
        "simulations.benchmarks.training",
        "overhead_vs_plain",
    ),
    "embedding": Benchmark(
        "crops to embeddings, one view each",
        "simulations.benchmarks.embedding",
        "embed_images_per_s",
    ),
    "import": Benchmark(
        "JPEG photos with landmarks to a stored cohort",
        "simulations.benchmarks.importing",
        "import_images_per_s",
    ),
    "evaluation": Benchmark(
        "one model's embeddings to rankings, accuracies and intervals",
        "simulations.benchmarks.evaluation",
        "evaluate_s",
    ),
    "ranking": Benchmark(
        "a silo's answer to encrypted queries beside TenSEAL's own product",
        "simulations.benchmarks.ranking",
        "query_ms",
    ),
}


def chosen(name: str) -> dict[str, Benchmark]:
    """The benchmark of that name, or every one for 'all', in the order in which they run.

    Raises:
        ConfigError: no such benchmark.
    """
    if name == ALL:
        return dict(BENCHMARKS)
    if name not in BENCHMARKS:
        raise ConfigError(f"no benchmark '{name}'", remedy=f"choose one of {', '.join([*BENCHMARKS, ALL])}")
    return {name: BENCHMARKS[name]}
