"""The report of a run: one self-contained HTML page. Only simulations may import it."""

from __future__ import annotations

import datetime
from pathlib import Path

from common.storage import write_text
from simulations.folder import RunFolder


def write_report(folder: RunFolder) -> Path:
    """Write report.html of a finished run, whole or not at all, and return its path.

    Every figure on it comes from results.json and predictions.csv; syndrome names and synthetic faces from the
    stored cohort.

    Raises:
        RunError: the run is not finished, its files are damaged, or the folder cannot be written to.
        CohortError: the run's cohort is missing or damaged.
    """
    from simulations.report.page import render
    from simulations.report.source import read

    write_text(folder.report, render(read(folder), on=datetime.date.today()))
    return folder.report
