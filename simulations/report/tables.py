"""Rows of the report's tables: what ran, accuracies, scorers, encryption, cost, environment, refusals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulations import accuracy
from simulations.predictions import Prediction
from simulations.report.numbers import (
    bare_percent,
    count,
    data_size,
    interval,
    known,
    percent,
    plural,
    scientific,
    seconds,
)
from simulations.report.source import LABELS, Source

TOP = (1, 5, 10, 30)
Row = tuple[str, str]


@dataclass(frozen=True)
class AccuracyRow:
    """One mode in one setting. ``cells``: (per cent, interval) for each k of ``TOP``."""

    setting: str
    mode: str
    label: str
    classes: str
    cells: list[Row]


def accuracy_rows(source: Source) -> list[AccuracyRow]:
    """Every figure of ``metrics``, setting by setting, with its interval."""
    intervals = source.results.get("intervals") or {}
    rows = []
    for setting in source.settings:
        for mode, by_setting in source.metrics.items():
            if setting not in by_setting:
                continue
            figures, bounds = by_setting[setting], intervals.get(mode, {}).get(setting, {})
            cells = [(bare_percent(figures.get(f"top{k}")), interval(bounds.get(f"top{k}"))) for k in TOP]
            rows.append(AccuracyRow(setting, mode, source.labels[mode], count(figures.get("classes")), cells))
    return rows


def retention_rows(source: Source) -> list[tuple[str, list[str]]]:
    """(setting, federated as a share of centralised at each k)."""
    held = source.results.get("retention") or {}
    return [
        (setting, [percent(held[setting].get(f"top{k}")) for k in TOP])
        for setting in source.settings
        if held.get(setting)
    ]


def scorer_rows(source: Source) -> tuple[list[str], list[tuple[str, str, bool, list[str]]]]:
    """(columns, rows of scorer, mode, whether chosen, 'top-1 / 5 / 10' a column), validation first."""
    held, validation = source.results.get("scorers") or {}, source.results.get("validation") or {}
    validated = any(table for table in validation.values())
    columns = [*(["validation"] if validated else []), *source.settings]
    rows = []
    for scorer in held:
        for mode in source.metrics:
            figures = {**held[scorer].get(mode, {}), **validation.get(scorer, {}).get(mode, {})}
            cells = [_three(figures.get(column)) for column in columns]
            rows.append((scorer, source.labels[mode], scorer == source.results.get("scorer"), cells))
    return columns, rows


def run_rows(source: Source) -> list[Row]:
    """What ran, in plain words."""
    scenario, cohort = source.scenario, source.cohort.cohort
    plan, ranking = scenario.training, scenario.ranking
    photos = sum(1 for _ in cohort.photos())
    kind = "faces rendered for this run" if source.synthetic else "imported photographs"
    trained = (
        f"{plural(plan.rounds, 'round')} of {plural(plan.epochs, 'pass', 'passes')} over a hospital's patients"
    )
    share = "the head alone learns" if not plan.trainable_fraction else (
        f"the last {percent(plan.trainable_fraction, 0)} of the network and the head learn"
    )  # fmt: skip
    chosen = "set by the scenario" if ranking.scorer else "chosen on validation patients"
    if not ranking.scorer and not any((source.results.get("validation") or {}).values()):
        chosen = "without validation patients, the one that encryption can compute"
    weights = scenario.backbone.path.name if scenario.backbone.path else "untrained"
    asked = "one photo at a time" if ranking.probes == "photo" else "all photos of a patient together"
    views = "as it is" if ranking.views == 1 else f"in {ranking.views} views"
    both = ", by the trained and the untouched network together" if ranking.ensemble else ""
    rows = [
        (
            "Cohort",
            (
                f"{cohort.name}: {kind}; {plural(len(cohort.patients), 'patient')}, {plural(photos, 'photo')}, "
                f"{plural(len({p.syndrome for p in cohort.patients if p.syndrome}), 'syndrome')}"
            ),
        ),
        ("Ways to train", ", ".join(source.labels[mode].lower() for mode in source.metrics)),
        ("Network", f"{scenario.backbone.architecture}, {weights}"),
    ]
    if set(source.metrics) - {"pretrained"}:
        rows.append(("Training", f"{trained}; {share}; engine {scenario.federation.engine}"))
    rows += [
        ("Ranking", f"{asked}, each photo {views}{both}"),
        ("Scorer", f"{source.results.get('scorer')}, {chosen}"),
        ("Seed", str(source.results.get("seed"))),
    ]
    return rows


def silo_rows(source: Source) -> list[tuple[str, str, str, str, float]]:
    """(name, patients, photos, syndromes, patients as a share of the largest silo)."""
    silos = source.results.get("silos") or []
    most = max((known(silo.get("patients")) or 0 for silo in silos), default=0) or 1
    return [
        (
            str(silo.get("name")),
            count(silo.get("patients")),
            count(silo.get("photos")),
            count(silo.get("syndromes")),
            (known(silo.get("patients")) or 0) / most,
        )
        for silo in silos
    ]


def encrypted_rows(source: Source) -> list[tuple[str, str, list[str]]]:
    """(setting, 'in clear' or 'encrypted', top-1/5/10/30 per cent) over the same queries.

    In clear by the linear formula over the whole gallery; none where the encrypted score was another one.
    """
    if (source.results.get("encrypted") or {}).get("kernel") != "linear":
        return []
    secret = [row for row in source.rows if row.mode == "encrypted"]
    asked = {(row.setting, row.split, row.image) for row in secret}
    clear = [
        row
        for row in source.rows
        if row.mode == "federated" and row.scorer == "encryptable" and (row.setting, row.split, row.image) in asked
    ]
    plain = accuracy.table(clear, "encryptable").get("federated", {})
    rows = []
    for setting, figures in (((source.results.get("encrypted") or {}).get("metrics")) or {}).items():
        for name, held in (("in clear", plain.get(setting)), ("encrypted", figures)):
            if held:
                rows.append((setting, name, [bare_percent(held.get(f"top{k}")) for k in TOP]))
    return rows


def _withheld(held: Mapping[str, Any]) -> str:
    """How much the profile's floors leave unanswered, by setting."""
    parts = [
        f"{setting} {counts['answerable']:.3g} of {counts['syndromes']:.3g}"
        for setting, counts in (held.get("answerable") or {}).items()
        if counts["answerable"] < counts["syndromes"]
    ]
    return f"; answers only {', '.join(parts)} syndromes, too few patients for the others" if parts else ""


def encryption_rows(source: Source) -> list[Row]:
    """What the encrypted ranking gave and cost."""
    held: Mapping[str, Any] = source.results.get("encrypted") or {}
    noise = held.get("noise")
    return [
        ("Queries, syndromes", f"{count(held.get('queries'))}, {count(held.get('syndromes'))}"),
        ("Kernel", f"{held.get('kernel')}, noise {'added' if noise else 'left out'}"),
        ("Profile", f"{held.get('profile') or 'standard'}{_withheld(held)}"),
        ("Largest difference of a score", scientific(held.get("max_abs_error"))),
        ("Same syndrome first", percent(held.get("top1_agreement"))),
        *([("Same first ten", percent(held.get("top10_agreement")))] if ranked_ten(held) else []),
        ("Time a query", seconds(held.get("seconds_per_query"))),
        ("Sent to each hospital a query", data_size(held.get("bytes_up"))),
        ("Answered by each hospital a query", data_size(held.get("bytes_down"))),
    ]  # fmt: skip


def ranked_ten(encrypted: Mapping[str, Any]) -> bool:
    """Whether the first ten are a choice at all, and not every syndrome there is."""
    return (known(encrypted.get("syndromes")) or 0) > 10


def cost_rows(source: Source) -> list[tuple[str, str, str]]:
    """(what, wall-clock time, processor time)."""
    spent: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for model, training in (source.results.get("training") or {}).items():
        spent[model.partition("/")[0]].append(training)
    rows = []
    for mode in (*LABELS, *sorted(set(spent) - set(LABELS))):
        if mode in spent:
            several = f", {plural(len(spent[mode]), 'model')}" if len(spent[mode]) > 1 else ""
            name = f"Training {LABELS.get(mode, mode).lower()}{several}"
            rows.append((name, _spent(spent[mode], "seconds"), _spent(spent[mode], "cpu_seconds")))
    timing: Mapping[str, Any] = source.results.get("timing") or {}
    if known(timing.get("train_s")):
        rows.append(("All training", seconds(timing.get("train_s")), seconds(timing.get("train_cpu_s"))))
    rounds = [value for value in map(known, timing.get("round_s") or []) if value is not None]
    if rounds:
        rows.append(("A federated round, mean", seconds(sum(rounds) / len(rounds)), "–"))
        rows.append(("A federated round, longest", seconds(max(rounds)), "–"))
    rows.append(("Ranking every test in clear", seconds(timing.get("rank_s")), "–"))
    encrypted = source.results.get("encrypted")
    if encrypted:
        rows.append(("A query under encryption", seconds(encrypted.get("seconds_per_query")), "–"))
    return rows


def environment_rows(source: Source) -> list[Row]:
    """What the figures depend on besides the scenario."""
    held: Mapping[str, Any] = source.results.get("environment") or {}
    dirty = {True: " with uncommitted changes", False: "", None: ""}[held.get("dirty")]
    names = {
        "python": "Python",
        "platform": "Platform",
        "cpu": "Processor",
        "cores": "Cores",
        "threads": "Threads",
        "blas": "BLAS",
        "lock_sha256": "Lock, SHA-256",
        "cohort_sha256": "Cohort, SHA-256",
        "weights_sha256": "Weights, SHA-256",
    }
    packages = ", ".join(f"{name} {number}" for name, number in sorted((held.get("packages") or {}).items()))
    return [
        ("phenofed", str(held.get("phenofed") or "–")),
        ("Commit", f"{held.get('commit') or '–'}{dirty}"),
        *((label, str(held[key])) for key, label in names.items() if held.get(key) is not None),
        *([("Packages", packages)] if packages else []),
    ]


def excluded_rows(source: Source) -> list[tuple[str, str]]:
    """(round, what happened) of federated rounds in which a hospital did not count, or nothing did."""
    training: Mapping[str, Any] = (source.results.get("training") or {}).get("federated") or {}
    rows = []
    columns: Sequence[Sequence[Any]] = [training.get(key) or [] for key in ("rounds", "excluded", "discarded")]
    for number, excluded, discarded in zip(*columns, strict=False):
        rows += [(f"{number}", f"{silo}: {reason}") for silo, reason in (excluded or {}).items()]
        if discarded:
            rows.append((f"{number}", "discarded: too few valid updates, the model stayed as it was"))
    return rows


def refused_rows(source: Source) -> list[tuple[str, int]]:
    """(reason, how often), most frequent first, without the names of files."""
    held: Sequence[object] = source.results.get("refused") or []
    reasons = Counter(entry.reason for entry in source.cohort.refused)
    if sum(reasons.values()) != len(held):
        reasons = Counter({"see 'refused' in results.json": len(held)}) if held else Counter()
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def tested(rows: Sequence[Prediction], setting: str) -> str:
    """How many patients a setting tests, and in how many divisions."""
    mine = [row for row in rows if row.setting == setting]
    patients, splits = len({row.subject for row in mine}), len({row.split for row in mine})
    divided = f", {count(splits)} divisions" if splits > 1 else ""
    return f"{plural(patients, 'test patient')}{divided}"


def _spent(items: Sequence[Mapping[str, Any]], key: str) -> str:
    """A sum of times; a training that a former process did has none."""
    return seconds(sum(known(item.get(key)) or 0 for item in items) or None)


def _three(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return "–"
    return " / ".join(bare_percent(figures.get(f"top{k}")) for k in (1, 5, 10))
