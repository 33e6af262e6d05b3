"""The ranking benchmark measures right answers, in processes of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.encryption.layout import Layout
from common.errors import EncryptionError
from simulations.benchmarks.measuring_process import MeasuringProcess
from simulations.benchmarks.ranking_cost import Cost, draw, markdown


@pytest.mark.parametrize("kernel", ["linear", "quadratic"])
def test_what_is_measured_equals_the_formula(kernel):
    with MeasuringProcess(Layout(64, 20, 2, kernel), patients=30) as process:
        assert process.prepare_s > 0
        assert len(process.ask("answer", times=2)) == 2
        error, same = process.ask("agree", times=2)
    assert 0 < error < 1e-5
    assert same > 0.95


def test_a_measuring_process_that_fails_ends_in_one_line(capfd):
    with MeasuringProcess(Layout(64, 20, 1)) as process, pytest.raises(EncryptionError, match="ended"):
        process.ask("dance")
    assert "dance" in capfd.readouterr().err


def test_the_library_is_loaded_in_the_measuring_process_only():
    code = "import sys, simulations.benchmarks.ranking; assert 'tenseal' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent, timeout=60)


def test_costs_are_told_in_a_table_and_a_picture(tmp_path):
    costs = [Cost(50, 12.4, 3.0, 600.0, 0.01, 115_000), Cost(5000, 300.0, 60.0, 40_000.0, 1.0, 230_000)]
    lines = markdown(costs).splitlines()
    assert lines[2] == "| 50 | 12 ms | 3.0 ms | 0.6 s | 0.01 ms | 115 kB |"
    assert len(lines) == 4
    draw(costs, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")
