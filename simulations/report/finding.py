"""What a run found, in words: the headline, the figures beside it, and what none of them can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulations.report.numbers import (
    bare_percent,
    count,
    interval,
    known,
    percent,
    plural,
    points,
    scientific,
    seconds,
    word,
)
from simulations.report.source import Source
from simulations.report.tables import ranked_ten

RESEARCH_USE = "Research use only; not a medical device."


@dataclass(frozen=True)
class Card:
    """One key figure."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Headline:
    """The figure that the report opens with: ``k`` leaves guessing far behind."""

    setting: str
    k: int
    classes: int

    @property
    def key(self) -> str:
        return f"top{self.k}"


def headline(source: Source) -> Headline:
    """F/F where there is one; top-10 unless so few syndromes are ranked that guessing would do."""
    setting = next(iter(source.settings), "F/F")
    classes = round(known(source.figure(source.main, setting, "classes")) or 0)
    k = 10 if classes > 20 else 5 if classes > 10 else 1
    return Headline(setting, k, classes)


def title(source: Source) -> str:
    """The finding in one sentence."""
    chosen = headline(source)
    value = source.figure(source.main, chosen.setting, chosen.key)
    if known(value) is None:
        return "No test patient was ranked in this run"
    reached = f"the true syndrome {_place(chosen.k)} in {percent(value)} of tests"
    if source.main == "federated":
        return f"{_hospitals(source).capitalize()} train one model together: it ranks {reached}"
    if source.main == "pretrained":
        return f"Before any training on patients, the network ranks {reached}"
    return f"{source.labels.get(source.main, source.main)}: the model ranks {reached}"


def summary(source: Source) -> list[str]:
    """The paragraphs below the headline."""
    chosen = headline(source)
    if known(source.figure(source.main, chosen.setting, chosen.key)) is None:
        return []
    sentences = [
        (
            f"That is top-{chosen.k} among {plural(chosen.classes, 'syndrome')}, averaged over syndromes"
            f"{_bounds(source, chosen)}; guessing would reach {percent(chosen.k / max(chosen.classes, 1))}."
        )
    ]
    if source.main == "federated":
        sentences += _compared(source, chosen)
    encrypted = source.results.get("encrypted")
    return [" ".join(sentences), *([_under_encryption(encrypted)] if encrypted else [])]


def cards(source: Source) -> list[Card]:
    """Key figures; those of parts that were not run are left out."""
    chosen = headline(source)
    silos = source.results.get("silos") or []
    patients, photos = (sum(int(known(silo.get(key)) or 0) for silo in silos) for key in ("patients", "photos"))
    result = [
        Card(
            "Hospitals",
            count(len(silos)),
            f"{plural(patients, 'patient')} and {plural(photos, 'photo')} to train on",
        )
    ]
    value = source.figure(source.main, chosen.setting, chosen.key)
    # Word joiners keep both ends of the interval on one line.
    bounds = interval(_interval(source, source.main, chosen)).replace("–", "\u2060–\u2060")
    if known(value) is not None:
        result.append(
            Card(
                f"{source.labels.get(source.main, source.main)} top-{chosen.k}, {chosen.setting}",
                percent(value),
                f"95% interval {bounds}" if bounds else f"of {plural(chosen.classes, 'syndrome')}",
            )
        )
    kept = (source.results.get("retention") or {}).get(chosen.setting, {}).get(chosen.key)
    if known(kept) is not None:
        result.append(Card("Of centralised training", percent(kept), f"kept of its top-{chosen.k}"))
    gain = _gain(source, "local", chosen)
    if gain is not None:
        result.append(
            Card("Over training alone", points(gain).split()[0], f"points of top-{chosen.k} against local only")
        )
    encrypted = source.results.get("encrypted")
    if encrypted:
        same, key = ("first ten", "top10") if ranked_ten(encrypted) else ("syndrome first", "top1")
        result.append(
            Card(
                f"Same {same}",
                percent(encrypted.get(f"{key}_agreement"), 0),
                f"encrypted and clear; {seconds(encrypted.get('seconds_per_query'))} a query",
            )
        )
    rounds = (source.results.get("timing") or {}).get("round_s") or []
    if rounds:
        spent = seconds(sum(known(value) or 0 for value in rounds))
        result.append(Card("Federated training", spent, f"{plural(len(rounds), 'round')} on this machine"))
    return result


def limits(source: Source) -> list[str]:
    """What the figures cannot show. The first stands at the head of the report."""
    faces = (
        "The faces are rendered, not patients': these figures show that the pipeline works and how the ways to "
        "train compare. They do not show clinical accuracy."
        if source.synthetic
        else "These figures show how the ways to train compare on one collection of photographs. They do not show "
        "clinical accuracy."
    )
    return [
        f"{faces} {RESEARCH_USE}",
        "Every face gets a list, an unaffected one too: a rank tells the nearest known syndrome, not a diagnosis.",
        (
            "Test patients come from the same source as the patients trained on. Other cameras, ages and "
            "ancestries may do worse, and nothing here measures by how much."
        ),
        (
            "One split and one seed: the intervals hold the luck of who was tested, not the luck of another "
            "training. Runs with other seeds show that."
        ),
        "Scores are similarities, not probabilities.",
    ]


def _compared(source: Source, chosen: Headline) -> list[str]:
    """How the federated model stands to the others, whichever way it went."""
    sentences = []
    kept = (source.results.get("retention") or {}).get(chosen.setting, {}).get(chosen.key)
    if known(kept) is not None:
        central = bare_percent(source.figure("centralised", chosen.setting, chosen.key))
        sentences.append(
            f"It keeps {percent(kept)} of what training on all photos in one place reaches ({central}%), "
            "without pooling them."
        )
    others = [("local", "hospitals that train alone"), ("pretrained", "the network before training")]
    parts = [
        f"{points(gain)} against {name}{_within(source, mode, chosen)}"
        for mode, name in others
        if (gain := _gain(source, mode, chosen)) is not None
    ]
    if parts:
        sentences.append(f"The difference is {' and '.join(parts)}.")
    return sentences


def _under_encryption(encrypted: Mapping[str, Any]) -> str:
    same, key = ("first ten", "top10") if ranked_ten(encrypted) else ("syndrome first", "top1")
    return (
        f"Under encryption, {percent(encrypted.get(f'{key}_agreement'))} of "
        f"{plural(int(known(encrypted.get('queries')) or 0), 'query', 'queries')} gave the same {same} as in "
        f"clear; no score moved by more than {scientific(encrypted.get('max_abs_error'))}."
    )


def _gain(source: Source, mode: str, chosen: Headline) -> float | None:
    ours, theirs = (known(source.figure(name, chosen.setting, chosen.key)) for name in (source.main, mode))
    return None if ours is None or theirs is None or mode == source.main else ours - theirs


def _interval(source: Source, mode: str, chosen: Headline) -> object:
    held = (source.results.get("intervals") or {}).get(mode, {}).get(chosen.setting, {})
    return held.get(chosen.key)


def _within(source: Source, mode: str, chosen: Headline) -> str:
    """A remark where another mode's figure lies inside the interval: such a difference proves little."""
    bounds, theirs = _interval(source, source.main, chosen), known(source.figure(mode, chosen.setting, chosen.key))
    if theirs is None or not interval(bounds) or not isinstance(bounds, Sequence):
        return ""
    return " (within the interval)" if bounds[0] <= theirs <= bounds[1] else ""


def _bounds(source: Source, chosen: Headline) -> str:
    shown = interval(_interval(source, source.main, chosen))
    return f" (95% interval {shown})" if shown else ""


def _hospitals(source: Source) -> str:
    number = len(source.results.get("silos") or [])
    return f"{word(number)} {'hospital' if number == 1 else 'hospitals'}"


def _place(k: int) -> str:
    return "first" if k == 1 else f"among the first {word(k)}"
