"""How many crops a CPU-second the network embeds."""

from __future__ import annotations

from common.faces.views import VIEWS
from common.learning.assembly import write_shared
from common.models.encoding import encode
from simulations.benchmarks.bench import Bench, Measured
from simulations.benchmarks.clock import repeated

MOST_PHOTOS = 256


def measure(bench: Bench) -> Measured:
    """``embed_images_per_s``: crops in memory to unit embeddings, one view each, a CPU-second."""
    scenario, cohort = bench.scenario, bench.cohort
    model = bench.pool.model(scenario.backbone, scenario.training)
    write_shared(model, bench.pool.initial(scenario.backbone, scenario.training))
    photos, crops = cohort.photo_ids[:MOST_PHOTOS], cohort.crops[:MOST_PHOTOS]
    bench.say(f"embedding {len(photos)} crops, {bench.repeat} repetitions")
    samples = repeated(bench.repeat, lambda: encode(model, photos, crops, views=VIEWS[:1]))
    rate = len(photos) / samples.median
    return Measured(
        {"embed_images_per_s": rate, "embed_images": float(len(photos))},
        ("crops", "CPU-s", "least .. most", "images a CPU-second"),
        ((str(len(photos)), f"{samples.median:.3f}", samples.spread, f"{rate:.1f}"),),
        (f"Network: {scenario.backbone.architecture}, one view a photo.",),
    )
