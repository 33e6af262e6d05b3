"""The chaos suite, cut short: a seed over real processes, with every altered message and two faults of processes.

The longest of all tests: about 80 s on two idle cores. ``make chaos`` runs twenty seeds with all faults.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from simulations.chaos.campaign import run_seeds
from simulations.chaos.disk import Disk
from simulations.chaos.faults import MESSAGE_FAULTS, PROCESS_FAULTS, drawn
from simulations.chaos.front import Front, Network
from simulations.chaos.results import SeedResult
from simulations.chaos.scan import Secret, Windows
from simulations.chaos.table import goals_missed, markdown
from simulations.poc.founding import free_port
from tests.agents import wait_until
from tests.tls_files import Authority

CUT = ("coordinator killed before checkpoint", "dishonest node")
SPARSE = np.random.default_rng(0)


def test_a_hurt_consortium_comes_to_the_same_model_and_sends_nothing_of_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    said: list[str] = []
    (found,) = run_seeds(tmp_path, [0], CUT, silos=4, each=len(CUT), deadline=60, keep_logs=False, say=said.append)
    assert found.failures == [], said
    assert {item.fault for item in found.faults} == set(CUT)
    assert {item.fault for item in found.messages} == set(MESSAGE_FAULTS)
    assert min(found.scanned["superlink"], found.scanned["relay"]) > 10_000
    # What is done is not done again.
    assert run_seeds(tmp_path, [0], CUT, silos=4, each=1, deadline=60, keep_logs=False, say=said.append) == [found]
    assert "| completed | 1 |" in (tmp_path / "chaos.md").read_text()


def test_twenty_seeds_meet_each_fault_three_times_and_a_seed_the_same_ones_again() -> None:
    faults = tuple(PROCESS_FAULTS)
    met = [drawn(seed, faults, 3) for seed in range(20)]
    assert met == [drawn(seed, faults, 3) for seed in range(20)]
    assert min(Counter(fault for one in met for fault in one)[fault] for fault in faults) >= 3


def test_the_scan_finds_any_48_bytes_wherever_they_stand_and_in_base64() -> None:
    import base64

    secret = SPARSE.bytes(4096)
    windows = Windows([Secret("pixels", secret)])
    noise = SPARSE.bytes(100_001)
    assert windows.found_in(noise) == {}
    assert windows.found_in(noise + secret[101:164] + noise) == {"pixels": 32}
    assert windows.found_in(noise + base64.b64encode(secret[96:192]))["pixels (Base64)"] >= 32


def test_a_front_records_a_connection_on_after_what_was_recorded_is_forgotten(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.relay()
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(files.certificate, files.key)
    trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_echo, args=(listening, shown), daemon=True).start()
        network, port = Network(), free_port()
        try:
            Front(network, "relay", port, listening.getsockname()[1], shown=shown, onward=lambda _: ("a", trusted))
            wait_until(lambda: _reachable(port))
            with (
                socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
                trusted.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            ):
                for content in (b"before", b"after"):
                    network.forget()
                    connection.sendall(content)
                    assert connection.recv(100) == content
                    assert network.sent == {("relay", "a"): bytearray(content)}
        finally:
            network.close()


def _echo(listening: socket.socket, shown: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return
        # The front looks whether anybody listens, and leaves again.
        with plain, contextlib.suppress(OSError), shown.wrap_socket(plain, server_side=True) as connection:
            while content := connection.recv(100):
                connection.sendall(content)


def _reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_even_backgrounds_are_no_secrets() -> None:
    assert len(Windows([Secret("pixels", bytes(4096) + b"\x07\x08" * 4096)])) == 0


@pytest.mark.parametrize("mounts", [True, False])
def test_a_full_disk_refuses_writers_and_takes_them_again(
    tmp_path: Path, mounts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not mounts:
        monkeypatch.setattr("simulations.chaos.disk._mount", lambda folder: False)
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "before").write_text("kept")
    disk = Disk(folder)
    try:
        if mounts and not disk.mounted:
            pytest.skip("nothing may be mounted here")
        disk.fill([os.getpid()])
        try:
            with pytest.raises(OSError, match=r"space|large"):
                (folder / "new").write_bytes(bytes(100_000))
        finally:
            disk.free()
        (folder / "new").write_bytes(bytes(100_000))
    finally:
        disk.close()
    assert (folder / "before").read_text() == "kept"
    assert (folder / "new").stat().st_size == 100_000


def test_whatever_did_not_hold_is_a_goal_missed() -> None:
    whole = SeedResult(
        seed=3,
        silos=4,
        seconds=60,
        rounds=2,
        faults=(),
        messages=(),
        completed=True,
        starts=1,
        rounds_discarded=0,
        rounds_repeated=0,
        counted_twice=0,
        bit_equal=True,
        messages_bit_equal=True,
        scanned={"superlink": 10},
        leaked={},
        control_found=True,
        named_in=(),
    )
    assert goals_missed([whole]) == []
    for changes in (
        {"completed": False},
        {"bit_equal": False},
        {"messages_bit_equal": False},
        {"counted_twice": 1},
        {"leaked": {"pixels": 32}},
        {"control_found": False},
        {"named_in": ("agent.log",)},
        {"faults": ({"fault": "partition", "round": 1, "failed": "no round counted after it"},)},
        {"faults": ({"fault": "partition", "round": 1, "recovery_s": 90.0, "waited_s": 49.0},)},
    ):
        hurt = SeedResult.model_validate({**whole.model_dump(), **changes})
        assert goals_missed([whole, hurt]), changes
    assert "| completed | 2 |" in markdown([whole, whole])
