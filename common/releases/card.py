"""The model card of a release, in Markdown: what it is for, what it was made from, how well it does, its limits.

After Mitchell et al., Model Cards for Model Reporting, 2019. Small counts are hidden as small_cells says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from common.cohort.reading import printable
from common.releases.facts import NOT_RECORDED, CardFacts, Figure, SiloSize
from common.releases.manifest import Manifest, Origin
from common.releases.small_cells import HELD_BACK, LEAST, shown, shown_table

RESEARCH_ONLY = (
    "**Research use only. Not a medical device.** Any face yields a ranked list, an unaffected one too."
)

_USE = """\
Ranks rare genetic syndromes that resemble a patient's face, for research by clinical geneticists inside hospitals
of the consortium that made it. A list is a hint for what to test, never a diagnosis.

Not for screening, not for identifying people, not for decisions without a clinician, not for photographs taken
without consent."""
_LIMITS = """\
- Not a medical device: no regulator has assessed it, and no clinical study stands behind it.
- Any face yields a list. A high place does not mean that the person has a syndrome.
- Syndromes that no silo holds cannot be ranked. Rare ones do worse than frequent ones.
- Where age, sex or ancestry are not recorded, or few patients of a group took part, nobody knows how well it does
  there. Faces of groups that are missing from the data are ranked worse.
- Figures hold for the cohort that they were measured on. Those of synthetic or warped faces say nothing about
  patients."""
_SETTINGS = {
    "F/F": "patients of frequent syndromes, ranked against those",
    "R/R": "patients of rare syndromes, ranked against those; nobody trained on them",
    "F/both": "patients of frequent syndromes, ranked against all",
    "R/both": "patients of rare syndromes, ranked against all",
}
_SPECIAL = re.compile(r"([\\|>\[\]*_`#]|<(?!\d))")
_TOP = ("top1", "top5", "top10", "top30")


def model_card(manifest: Manifest, origin: Origin, facts: CardFacts) -> str:
    """The text of card.md."""
    purposes = ", ".join(origin.purposes) or NOT_RECORDED
    lines = [
        f"# Model card: {_text(origin.name)}, release {origin.number}",
        RESEARCH_ONLY,
        _table(
            ("", ""),
            [
                ("id", manifest.id),
                ("created", f"{origin.created:%Y-%m-%d %H:%M} UTC"),
                ("parent release", origin.parent or "none"),
                ("training plan (SHA-256)", origin.plan or NOT_RECORDED),
                ("what the run was for", _text(facts.aim) or NOT_RECORDED),
                ("purposes that patients agreed to", purposes),
                ("made with", f"phenofed {origin.software}, protocol {origin.protocol}"),
            ],
        ),
        "## Intended use",
        _USE,
        "## Limits",
        _LIMITS,
        "## Data",
        f"Kind of photos: {_text(facts.data) or NOT_RECORDED}.",
        *_data(facts),
        "## Figures",
        *_figures(facts),
        "## How it was made",
        _made(manifest, facts),
        "## Where the figures come from",
        "\n".join(f"- {_text(name)}, SHA-256 `{digest}`" for name, digest in sorted(facts.sources.items()))
        or NOT_RECORDED.capitalize() + ".",
    ]
    return "\n\n".join(lines) + "\n"


def _data(facts: CardFacts) -> Iterable[str]:
    yield (
        f"Counts of patients below {LEAST} are hidden, and one more row of such a table, so that no sum gives "
        "them away."
    )
    yield "### Silos"
    yield _silos(facts.silos)
    for heading, counts in (
        ("Age in years", facts.people.ages),
        ("Sex", facts.people.sexes),
        ("Ancestry", facts.people.ancestries),
    ):
        yield f"### {heading}"
        if not counts:
            yield NOT_RECORDED.capitalize() + "."
            continue
        cells = shown_table(counts)
        yield _table(("", "patients"), cells.items()) if cells else "Left out: too few patients."


def _silos(silos: Sequence[SiloSize]) -> str:
    if not silos:
        return NOT_RECORDED.capitalize() + "."
    ordered = sorted(silos, key=lambda silo: silo.name.encode())
    total = sum(silo.patients for silo in ordered)
    cells = shown_table({silo.name: silo.patients for silo in ordered})
    if cells is None:
        names = ", ".join(_text(silo.name) for silo in ordered)
        return f"{names}: {shown(total)} patients together; sizes left out: too few patients."
    rows = []
    for silo in ordered:
        patients = cells[silo.name]
        # A patient has a photo and a syndrome: their numbers would bound a count that is hidden.
        syndromes = NOT_RECORDED if silo.syndromes is None else str(silo.syndromes)
        rest = (str(silo.photos), syndromes) if patients.isdigit() else (HELD_BACK, HELD_BACK)
        rows.append((silo.name, patients, *rest))
    whole = all(cell.isdigit() for cell in cells.values())
    rows.append(("all", str(total), str(sum(silo.photos for silo in ordered)) if whole else HELD_BACK, ""))
    return _table(("silo", "patients", "photos", "syndromes"), rows)


def _figures(facts: CardFacts) -> Iterable[str]:
    if not facts.figures:
        yield NOT_RECORDED.capitalize() + "."
        return
    yield (
        "Macro-averaged over syndromes, in per cent; in brackets the 95 % bootstrap interval. "
        f"Scorer: {_text(facts.scorer) or NOT_RECORDED}."
    )
    rows = [
        (figure.mode, figure.setting, str(figure.classes), *(_accuracy(figure, top) for top in _TOP))
        for figure in facts.figures
    ]
    yield _table(("model", "setting", "syndromes", *(top.replace("top", "top-") for top in _TOP)), rows)
    used = {figure.setting for figure in facts.figures}
    yield "\n".join(f"- {name}: {meaning}." for name, meaning in _SETTINGS.items() if name in used)


def _accuracy(figure: Figure, top: str) -> str:
    if top not in figure.top:
        return "-"
    value = f"{100 * figure.top[top]:.1f}"
    if top not in figure.intervals:
        return value
    low, high = figure.intervals[top]
    return f"{value} ({100 * low:.1f} to {100 * high:.1f})"


def _made(manifest: Manifest, facts: CardFacts) -> str:
    plan, backbone = manifest.training, manifest.backbone
    rows = [
        ("run", f"{manifest.scenario}, seed {manifest.seed}"),
        ("rounds", f"{manifest.rounds}, of which {facts.discarded} without enough valid updates changed nothing"),
        ("silos left out of rounds", ", ".join(f"{k}: {v}" for k, v in sorted(facts.left_out.items())) or "none"),
        ("backbone", f"{backbone.architecture}, file {backbone.sha256 or 'shipped with phenofed or none'}"),
        ("trained", f"the last {plan.trainable_fraction:.0%} of the backbone's depth, and the head"),
        ("each round", f"{plan.epochs} passes, {plan.optimiser}, learning rate {plan.learning_rate:g}"),
        (
            "encoding",
            f"{manifest.encoding.views} views; untouched network beside it: {manifest.encoding.ensemble}",
        ),
        ("parameters (SHA-256)", manifest.sha256),
    ]
    return _table(("", ""), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str) -> str:
    """Names come from runs and other people: one line, without what Markdown or a terminal would act on."""
    return _SPECIAL.sub(r"\\\1", printable(" ".join(value.split())))[:300]
