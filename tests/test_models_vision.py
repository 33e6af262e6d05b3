"""torchvision imports beside whichever torch is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_torchvision_imports_in_a_fresh_process_after_mending_twice():
    program = (
        "from common.models import vision\n"
        "first = vision.mend()\n"
        "assert vision.mend() == first\n"
        "import torchvision, torchvision.ops, onnx2torch\n"
        "assert vision.mend() == first\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
