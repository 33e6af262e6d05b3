"""Flower's own engines: Ray gives the inline engine's bits, and `flwr run .` works from the checkout."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.records import digest
from server import checkpoints
from simulations.engines.cluster import Cluster, look
from simulations.folder import RunFolder
from simulations.running import Run, run

ROOT = Path(__file__).parent.parent
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a Ray cluster of one machine, in a session of its own and ended with all it started."""
    port = _free_port()
    command = [Path(sys.executable).parent / "ray", "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--include-dashboard=false", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--port={port}"]
    with (tmp_path / "cluster.log").open("wb") as said:
        head = subprocess.Popen(
            [*command, f"--temp-dir={tempfile.mkdtemp(prefix='phenofed-ray-')}"],
            env=os.environ | QUIET | {"PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while head.poll() is None and time.monotonic() < deadline:
            try:
                look(f"127.0.0.1:{port}")
                break
            except ConfigError:
                time.sleep(0.5)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["started here", "a cluster that runs already"])
def test_ray_gives_the_same_model_as_inline(
    finished: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    elsewhere: bool,
) -> None:
    for key, value in QUIET.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    address = request.getfixturevalue("cluster") if elsewhere else None
    scenario = finished.scenario
    changed = scenario.model_copy(
        update={
            "modes": ("pretrained", "federated"),
            "federation": scenario.federation.model_copy(update={"engine": "ray", "ray_address": address}),
            "encryption": scenario.encryption.model_copy(update={"enabled": False}),
        }
    )
    run(changed, tmp_path / "ray")
    models = []
    for folder in (finished.folder, tmp_path / "ray"):
        checkpoint = checkpoints.read(RunFolder(folder).training("federated"))
        assert checkpoint is not None
        assert checkpoint.round == scenario.training.rounds
        models.append(digest(checkpoint.parameters))
    assert models[0] == models[1]


def test_a_cluster_that_nobody_answers_for_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        look(f"127.0.0.1:{_free_port()}")


def test_what_no_machine_of_a_cluster_has_is_refused() -> None:
    cluster = Cluster(cores=(16, 4), gpus=(1.0, 0.0))
    assert cluster.share(4, 0.5) == 5
    assert cluster.share(1, 1.0) == 16, "a client never spans machines"
    with pytest.raises(ConfigError, match="no machine of the cluster"):
        Cluster(cores=(16,), gpus=(0.0,)).share(2, 0.5)


def test_flwr_run_works_from_the_checkout(tmp_path: Path) -> None:
    """A SuperLink of the test's own, in a session of its own, ended with everything that it started."""
    home, folder, log = tmp_path / "home", tmp_path / "run", tmp_path / "superlink.log"
    port = _free_port()
    tools = Path(sys.executable).parent
    environment = os.environ | QUIET | {"FLWR_HOME": str(home), "HOME": str(tmp_path)}
    environment["PATH"] = f"{tools}{os.pathsep}{environment['PATH']}"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "test"\n\n[superlink.test]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    with log.open("wb") as said:
        superlink = subprocess.Popen(
            [tools / "flower-superlink", "--insecure", "--simulation", "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(port)
        started = subprocess.run(
            [tools / "flwr", "run", ".", "test", "--run-config", f'folder="{folder}"'],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert started.returncode == 0, started.stdout + started.stderr
        checkpoint = None
        end = time.monotonic() + 150
        while time.monotonic() < end and (checkpoint is None or checkpoint.round < 2):
            time.sleep(0.5)
            checkpoint = checkpoints.read(folder / "training" / "federated")
        assert checkpoint is not None, log.read_text()[-2000:]
        assert checkpoint.round == 2
        assert not any(summary.excluded for summary in checkpoint.history)
        _wait_until_finished(tools, environment)
    finally:
        os.killpg(superlink.pid, signal.SIGTERM)
        superlink.wait(timeout=30)


def _wait_until_finished(tools: Path, environment: dict[str, str]) -> None:
    """Let Ray end its own processes before the SuperLink is stopped."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        listed = subprocess.run(
            [tools / "flwr", "list", "test", "--format", "json"],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if '"finished:completed"' in listed.stdout.replace(" ", ""):
            return
        time.sleep(0.5)
    raise AssertionError(f"the run did not end: {listed.stdout}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the SuperLink did not start")
