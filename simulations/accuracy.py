"""From predictions to the accuracies of results.json: macro top-k by mode and setting, with intervals.

Nothing but predictions goes in, so that predictions.csv alone reproduces every figure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from common.ranking.metrics import TOP, Repetition, bootstrap_interval, macro_top
from common.seeding import generator
from simulations.predictions import Prediction

Figures = dict[str, float]
Table = dict[str, dict[str, Figures]]
"""mode -> setting -> top1, top5, top10, top30, classes."""


def table(predictions: Iterable[Prediction], scorer: str) -> Table:
    """Macro top-k of one scorer: the mean over a setting's splits, and over the models of a mode."""
    groups: dict[tuple[str, str, str], dict[int, list[Prediction]]] = defaultdict(lambda: defaultdict(list))
    for row in predictions:
        if row.scorer == scorer:
            mode, _, model = row.mode.partition("/")
            groups[mode, model, row.setting][row.split].append(row)
    by_model: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for (mode, _, setting), splits in groups.items():
        by_model[mode, setting].append(_mean([_figures(rows) for rows in splits.values()]))
    result: Table = defaultdict(dict)
    for (mode, setting), figures in by_model.items():
        result[mode][setting] = _mean(figures)
    return dict(result)


def intervals(
    predictions: Iterable[Prediction], scorer: str, *, seed: int, draws: int = 1000
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """95 % bootstrap intervals: patients drawn anew within their syndrome, repetitions (splits, silos) too.

    A benchmark over seeds passes the predictions of all of them, with modes named ``mode/seed-N``.
    """
    groups: dict[tuple[str, str], dict[tuple[str, int], list[Prediction]]] = defaultdict(lambda: defaultdict(list))
    for row in predictions:
        if row.scorer == scorer:
            groups[row.mode.partition("/")[0], row.setting][row.mode, row.split].append(row)
    result: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(dict)
    for (mode, setting), repetitions in groups.items():
        ends = bootstrap_interval(
            [_repetition(rows) for rows in repetitions.values()],
            generator=generator(seed, "bootstrap", mode, setting),
            draws=draws,
        )
        result[mode][setting] = {f"top{k}": ends[:, column].tolist() for column, k in enumerate(TOP)}
    return dict(result)


def _repetition(rows: Sequence[Prediction]) -> Repetition:
    return Repetition(
        hits=np.array([[row.rank <= k for k in TOP] for row in rows], dtype=np.float64),
        labels=np.array([row.label for row in rows]),
        patients=np.array([row.subject for row in rows]),
    )


def retention(metrics: Mapping[str, Mapping[str, Figures]]) -> dict[str, Figures]:
    """federated / centralised for each setting and k; empty where a mode was not run."""
    if not {"federated", "centralised"} <= set(metrics):
        return {}
    return {
        setting: {
            key: metrics["federated"][setting][key] / value
            for key, value in figures.items()
            if key != "classes" and value > 0
        }
        for setting, figures in metrics["centralised"].items()
    }


def choose_scorer(validation: Sequence[Prediction], scorers: Iterable[str]) -> str:
    """The scorer with the best mean of macro top-1, 5 and 10 over the modes' validation patients.

    Without validation patients it is the encryptable one, which hospitals can compute together. Ties go to the
    scorer named first.
    """
    best, best_value = "encryptable", -1.0
    for scorer in scorers:
        figures = table(validation, scorer)
        values = [f[f"top{k}"] for settings in figures.values() for f in settings.values() for k in (1, 5, 10)]
        if values and float(np.mean(values)) > best_value + 1e-12:
            best, best_value = scorer, float(np.mean(values))
    return best


def _figures(rows: Sequence[Prediction]) -> Figures:
    ranks, labels = [row.rank for row in rows], [row.label for row in rows]
    return {f"top{k}": macro_top(ranks, labels, k) for k in TOP} | {"classes": float(rows[0].classes)}


def _mean(figures: Sequence[Figures]) -> Figures:
    return {key: float(np.mean([row[key] for row in figures])) for key in figures[0]}
