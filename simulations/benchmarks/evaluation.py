"""How long it takes to turn one model's embeddings into accuracies."""

from __future__ import annotations

import datetime

from common.cohort.splits import Setting
from common.learning.assembly import write_shared
from common.models.encoding import encode
from common.ranking.scores import SCORERS
from common.releases.encoder import CHOSEN_VIEWS
from simulations import accuracy, predictions
from simulations.benchmarks.bench import Bench, Measured
from simulations.benchmarks.clock import repeated
from simulations.evaluation import Evaluation, predict
from simulations.prepare import crops_of, matchable


def measure(bench: Bench) -> Measured:
    """``evaluate_s``: all settings and scorers of one model, predictions.csv, accuracies and intervals."""
    scenario, cohort = bench.scenario, bench.cohort
    assert cohort.protocol is not None
    photos = matchable(cohort, datetime.date.today())
    model = bench.pool.model(scenario.backbone, scenario.training)
    write_shared(model, bench.pool.initial(scenario.backbone, scenario.training))
    bench.say(f"embedding {len(photos)} crops, then evaluating them {bench.repeat} times")
    encodings = encode(model, photos, crops_of(cohort, photos), views=CHOSEN_VIEWS[scenario.ranking.views])
    if scenario.ranking.ensemble:  # as long as the vectors of a trained model beside the untouched one
        encodings = encodings.with_models_of(encodings)
    evaluation = Evaluation(cohort.protocol, photos, scenario.ranking.probes)
    path = bench.folder / "predictions.csv"

    def evaluate() -> int:
        found = [
            row for place in Setting for row in predict(evaluation, encodings, mode="pretrained", setting=place)
        ]
        predictions.write(path, found)
        rows = predictions.read(path)
        for scorer in SCORERS:
            accuracy.table(rows, scorer)
        accuracy.intervals(rows, next(iter(SCORERS)), seed=scenario.seed)
        return len(rows)

    count = evaluate()
    samples = repeated(bench.repeat, evaluate)
    return Measured(
        {"evaluate_s": samples.median, "evaluate_rankings": float(count)},
        ("rankings", "CPU-s", "least .. most"),
        ((str(count), f"{samples.median:.3f}", samples.spread),),
        (f"{len(SCORERS)} scorers, {len(Setting)} settings, intervals of one scorer from 1000 draws.",),
    )
