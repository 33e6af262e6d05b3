"""The report as one page: nothing is loaded, no script runs, and no photograph slips in."""

from __future__ import annotations

import base64
import datetime
import hashlib
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from simulations.report import curves, finding, numbers, palette, scatter, syndromes, tables
from simulations.report.bars import top_k_bars
from simulations.report.curves import Line, learning_curve
from simulations.report.faces import contact_sheet, cover
from simulations.report.source import Source

LONG_TABLE = 30


def render(source: Source, *, on: datetime.date) -> str:
    """The page as HTML; ``on``: the day for which consent to display a face is asked."""
    environment = _environment()
    style = _style()
    return environment.get_template("page.html.j2").render(
        style=style,
        policy=content_policy(style),
        source=source,
        results=source.results,
        title=finding.title(source),
        summary=finding.summary(source),
        cards=finding.cards(source),
        limits=finding.limits(source),
        run=tables.run_rows(source),
        silos=tables.silo_rows(source),
        charts=_bars(source),
        accuracy=tables.accuracy_rows(source),
        retention=tables.retention_rows(source),
        scorers=tables.scorer_rows(source),
        curves=_curves(source),
        excluded=tables.excluded_rows(source),
        syndromes=syndromes.syndrome_rows(source),
        settings=syndromes.chosen_settings(source),
        confusions=syndromes.confusions(source),
        cover=cover(source, on),
        faces=contact_sheet(source, on),
        encryption=tables.encryption_rows(source),
        encrypted=tables.encrypted_rows(source),
        scatters=_scatters(source),
        cost=tables.cost_rows(source),
        environment=tables.environment_rows(source),
        refused=tables.refused_rows(source),
        top=tables.TOP,
        long_table=LONG_TABLE,
        hardest_of=syndromes.hardest,
    )


def content_policy(style: str) -> str:
    """A policy under which the page can load nothing: its own style by hash, pictures from within."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("simulations.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": numbers.percent,
        "bare": numbers.bare_percent,
        "count": numbers.count,
        "plural": numbers.plural,
    }
    return environment


@cache
def _style() -> Markup:
    template = _environment().get_template("style.css.j2")
    # Nothing of a run goes into the style sheet, so it is safe as it stands.
    return Markup(template.render(light=palette.LIGHT, dark=palette.DARK, marks=palette.MARKS))  # noqa: S704


def _bars(source: Source) -> list[dict[str, Any]]:
    intervals = source.results.get("intervals") or {}
    return [
        {
            "setting": setting,
            "tested": tables.tested(source.tests, setting),
            "classes": max(numbers.known(row.get("classes")) or 0 for row in figures.values()),
            "chart": top_k_bars(
                setting,
                figures,
                {mode: intervals.get(mode, {}).get(setting, {}) for mode in figures},
                source.labels,
            ),
        }
        for setting in source.settings
        if (figures := {mode: held[setting] for mode, held in source.metrics.items() if setting in held})
    ]


def _curves(source: Source) -> list[dict[str, Any]]:
    """Up to three charts: loss by way to train, loss by hospital, size of the shared step."""
    training = source.results.get("training") or {}
    federated = training.get("federated")
    lines = _mean_lines(source, training)
    longest = max((item.get("rounds") or [] for item in training.values()), key=len, default=[])
    phase = source.scenario.training.warmup_rounds
    charts = []
    if lines and longest:
        chart = learning_curve("loss", "Training loss by way to train", "loss", longest, lines, phase=phase)
        charts.append({"caption": "Loss by way to train, mean over hospitals", "chart": chart})
    if federated and federated.get("rounds"):
        rounds, losses = federated["rounds"], federated.get("losses") or []
        names = sorted({name for row in losses for name in row}, key=str.encode)
        many = len(names) > curves.NAMED
        by_silo = [
            Line(name, f"series-{index % 6}", [row.get(name) for row in losses], faint=many)
            for index, name in enumerate(names)
        ]
        if many:
            by_silo.append(Line("mean", "federated", curves.mean(losses)))
        chart = learning_curve("silos", "Federated training loss", "loss", rounds, by_silo, phase=phase)
        charts.append({"caption": "Federated: loss at each hospital", "chart": chart})
        steps = [Line("step", "federated", federated.get("update_norm") or [])]
        chart = learning_curve("steps", "Size of the shared update", "norm", rounds, steps, phase=phase)
        charts.append({"caption": "Federated: how far the shared model moved each round", "chart": chart})
    return charts


def _mean_lines(source: Source, training: dict[str, Any]) -> list[Line]:
    lines = []
    for mode in source.metrics:
        models = [item for model, item in training.items() if model.partition("/")[0] == mode]
        if not models:
            continue
        longest = max((item.get("losses") or [] for item in models), key=len)
        together: list[dict[str, object]] = [{} for _ in longest]
        for number, item in enumerate(models):
            for place, row in enumerate(item.get("losses") or []):
                together[place] |= {f"{number}/{name}": value for name, value in row.items()}
        lines.append(Line(source.labels[mode], mode, curves.mean(together)))
    return lines


def _scatters(source: Source) -> list[dict[str, Any]]:
    encrypted = source.results.get("encrypted") or {}
    pairs = scatter.finite_pairs(encrypted.get("pairs"))
    if not pairs:
        return []
    bound = encrypted.get("max_abs_error")
    return [
        {"caption": "Each dot is one score of one query", "chart": scatter.agreement_scatter(pairs)},
        {
            "caption": "The same dots, as differences; dashed: the largest of all queries",
            "chart": scatter.difference_scatter(pairs, bound),
        },
    ]
