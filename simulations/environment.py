"""What a run's figures depend on besides the scenario: code, packages, weights, cohort, processor."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.cohort.store import StoredCohort
from common.models.device import describe_device, find_device
from common.storage import sha256_bytes, sha256_file
from simulations.scenario import Scenario

ROOT = Path(__file__).parent.parent
PACKAGES = ("flwr", "torch", "torchvision", "opacus", "tenseal", "numpy", "opencv-python-headless")


def describe(scenario: Scenario, cohort: StoredCohort) -> dict[str, Any]:
    """Everything by which a stranger can tell whether two runs are comparable; None where it is not to be had."""
    weights = scenario.backbone.path
    return {
        "phenofed": version("phenofed"),
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if (status := _git("status", "--porcelain")) is None else bool(status),
        "lock_sha256": _hash_if_there(ROOT / "requirements.lock"),
        "cohort_sha256": cohort_hash(cohort),
        "weights_sha256": None if weights is None else sha256_file(weights),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "device": describe_device(find_device(scenario.device)),
        "threads": torch.get_num_threads(),
        "blas": _blas(),
        "platform": platform.platform(terse=True),
    }


def cohort_hash(cohort: StoredCohort) -> str:
    """SHA-256 over the records and the crops."""
    digest = hashlib.sha256(cohort.cohort.model_dump_json().encode())
    digest.update(np.ascontiguousarray(cohort.crops).data)
    return digest.hexdigest()


def _git(*arguments: str) -> str | None:
    try:
        found = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def _hash_if_there(path: Path) -> str | None:
    return sha256_bytes(path.read_bytes()) if path.is_file() else None


def _cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def _blas() -> str | None:
    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    except (KeyError, TypeError):
        return None
    return f"{blas.get('name')} {blas.get('version')}"
