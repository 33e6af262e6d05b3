"""The worker process: it dies instead of its owner, comes back, and can do little else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from common.consortium.identity import Member
from common.encryption import EncryptedRanker, frames, worker
from common.encryption.key_epoch import KeyEpoch
from common.encryption.worker import Worker, private_folder
from common.encryption.worker_pool import WorkerPool
from common.errors import EncryptionError
from common.ranking.kernel import linear
from tests.encryption_consortium import Consortium
from tests.encryption_panel import Layout, prototypes, unit


def test_a_killed_worker_is_one_refused_request_and_a_new_worker():
    with Worker("querier") as own, Worker("silo") as silo:
        world = Consortium(own, silo)
        query = world.ask()
        first = silo.process_id
        os.kill(first, signal.SIGSEGV)
        with pytest.raises(EncryptionError, match="worker is gone"):
            world.answer("a", query.envelope)
        found = world.answers(query)
        assert world.asking.scores(query, found) == pytest.approx(world.expected(), abs=1e-4)
        assert silo.process_id not in (None, first)
        assert silo.generation == 2


def test_a_hang_in_the_middle_of_a_query_is_one_refused_query():
    with Worker("querier") as own, Worker("silo") as silo:
        world = Consortium(own, silo)
        query = world.ask()
        silo._seconds = 0.2
        os.kill(silo.process_id, signal.SIGSTOP)
        with pytest.raises(EncryptionError, match="in time"):
            world.answer("a", query.envelope)
        silo._seconds = 60
        found = world.answers(query)
        assert world.asking.scores(query, found) == pytest.approx(world.expected(), abs=1e-4)


def test_a_pool_answers_several_queries_at_once_with_a_process_each():
    with Worker("querier") as own, WorkerPool("silo", count=2) as pool:
        world = Consortium(own, pool)
        queries = [world.ask() for _ in range(4)]
        assert [one.generation for one in pool._workers] == [1, 0]
        together = threading.Barrier(2)
        ask_worker = Worker.call

        def meet(self, *parts, **needs):
            together.wait(30)
            return ask_worker(self, *parts, **needs)

        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as threads:
            patch.setattr(pool._workers[0], "call", meet.__get__(pool._workers[0]))
            patch.setattr(pool._workers[1], "call", meet.__get__(pool._workers[1]))
            found = list(threads.map(lambda query: world.answer("a", query.envelope), queries))
        assert [one.generation for one in pool._workers] == [1, 1]
        assert found == [world.answer("a", query.envelope) for query in queries]
        for query in queries:
            answers = world.answers(query)
            assert world.asking.scores(query, answers) == pytest.approx(world.expected(), abs=1e-4)
        for name in world.silos:
            world.silos[name].retire("1")
            world.silos[name].drop_keys(world.key_id)
        assert not any(one._kept or one._present for one in pool._workers)
    with pytest.raises(EncryptionError, match="pool of 0"):
        WorkerPool("silo", count=0)


def test_a_queriers_worker_that_died_opens_its_sealed_keys_again():
    with Worker("querier") as own, Worker("silo") as silo:
        world = Consortium(own, silo)
        query = world.ask()
        found = world.answers(query)
        os.kill(own.process_id, signal.SIGKILL)
        with pytest.raises(EncryptionError, match="worker is gone"):
            world.asking.scores(query, found)
        assert world.asking.scores(query, found) == pytest.approx(world.expected(), abs=1e-4)
        assert own.generation == 2


def test_a_hanging_worker_is_ended_after_its_time():
    with Worker("silo", seconds=60) as silo:
        with pytest.raises(EncryptionError, match="no such request"):
            silo.call(b"nothing", b"{}")
        process = silo.process_id
        silo._seconds = 0.2
        os.kill(process, signal.SIGSTOP)
        with pytest.raises(EncryptionError, match="in time"):
            silo.call(b"nothing", b"{}")
        assert silo.process_id is None
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
        silo._seconds = 60
        with pytest.raises(EncryptionError, match="no such request"):
            silo.call(b"nothing", b"{}")


def test_the_ranker_goes_on_after_any_of_its_workers_died():
    generator = np.random.default_rng(2)
    syndromes = [f"s{number}" for number in range(10)]
    silos = prototypes(generator, syndromes, 64, silos=3)
    probes = unit(generator, 2, 64)
    expected = linear(probes, list(silos.values()), syndromes=syndromes)
    with EncryptedRanker(silos, syndromes=syndromes) as ranker:
        ranker.rank(probes)
        for victim in (ranker._workers[0], ranker._own_worker):
            os.kill(victim.process_id, signal.SIGKILL)
            with pytest.raises(EncryptionError):
                ranker.rank(probes)
            scores, _ = ranker.rank(probes)
            assert np.nanmax(np.abs(scores - expected)) < 1e-4


def test_a_worker_that_cannot_start_says_what_to_install(tmp_path, monkeypatch):
    package = tmp_path / "tenseal"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('no such wheel')")
    path = f"{tmp_path}{os.pathsep}{worker._ROOT}"
    monkeypatch.setattr(worker, "_ROOT", path)
    with Worker("silo") as silo:
        for _ in range(2):
            with pytest.raises(EncryptionError, match=r"no such wheel.*install"):
                silo.call(b"nothing", b"{}")
        assert silo.process_id is None


def test_requests_that_make_no_sense_are_refused_and_the_worker_stays():
    with Worker("silo") as silo:
        requests = [(b"answer", b"{}"), (b"answer", b"no json", b""), (b"keys",), (b"",), (b"gallery", b"[]", b"")]
        member, layout = Member("querier"), Layout(64, 10, 1)
        keys = json.dumps({"name": "x", "epoch": KeyEpoch(member.card, 1, (layout,)).to_json()}).encode()
        rows = {"name": "x", "layout": layout.to_json(), "rows": {"shape": [10, 64], "coefficients": None}}
        requests += [(b"keys", keys, bytes(size)) for size in (0, 1, 1_000_000)]
        requests += [(b"gallery", json.dumps(rows).encode(), bytes(size)) for size in (0, 7, 5121)]
        for request in requests:
            with pytest.raises(EncryptionError):
                silo.call(*request)
        assert silo.generation == 1
    with Worker("querier") as own:
        for command in (b"encrypt", b"scores", b"secret"):
            with pytest.raises(EncryptionError, match="no keys"):
                own.call(command, b'{"name": "x"}', b"")
        for request in ((b"make", b"{}", b""), (b"open", b"[]", b"", b""), (b"save", b"{}"), (b"", b"")):
            with pytest.raises(EncryptionError):
                own.call(*request)
        assert own.generation == 1


def test_processes_and_folders_are_gone_after_use():
    with Worker("silo") as silo:
        with pytest.raises(EncryptionError):
            silo.call(b"nothing", b"{}")
        process = silo.process_id
        folder = silo.folder
        assert folder.stat().st_mode & 0o777 == 0o700
        assert not list(folder.iterdir())
    assert silo.folder is None
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_an_owner_that_forgets_its_worker_leaves_no_process():
    silo = Worker("silo")
    with pytest.raises(EncryptionError):
        silo.call(b"nothing", b"{}")
    process = silo.process_id
    del silo
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_private_folder_is_found_without_a_memory_file_system(monkeypatch, tmp_path):
    real = worker.tempfile.mkdtemp

    def picky(*, prefix, dir):
        if dir is not None:
            raise FileNotFoundError(dir)
        return real(prefix=prefix, dir=tmp_path)

    monkeypatch.setattr(worker.tempfile, "mkdtemp", picky)
    assert private_folder().parent == tmp_path


CONFINED = """
import os, resource, socket, subprocess, sys, tempfile
from pathlib import Path
from common.encryption.confinement import confine
folder = Path(sys.argv[1])
missing = confine(folder, memory=1 << 30)
def refused(action):
    try:
        action()
    except (OSError, MemoryError):
        return True
    return False
network = [lambda: socket.socket(), lambda: socket.create_server(("127.0.0.1", 0))]
network += [lambda: socket.socket(socket.AF_UNIX), lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)]
programs = [lambda: os.execv(sys.executable, [sys.executable, "-c", ""]), lambda: os.kill(os.getppid(), 0)]
files = [lambda: open("/etc/hostname").read(), lambda: open(sys.argv[2], "w"), lambda: os.listdir("/")]
if "seccomp" not in missing:
    assert all(map(refused, network + programs))
if "landlock" not in missing:
    assert all(map(refused, files))
assert refused(lambda: bytearray(2 << 30))
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
(folder / "own").write_bytes(b"mine")
assert (folder / "own").read_bytes() == b"mine"
print("confined", *missing)
"""


def test_a_confined_process_has_no_network_no_files_and_little_memory(tmp_path):
    (tmp_path / "own").mkdir()
    command = [sys.executable, "-c", CONFINED, str(tmp_path / "own"), str(tmp_path / "other")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("confined")


def test_a_running_worker_is_confined_and_holds_nothing_but_its_pipes():
    with Worker("silo") as silo:
        silo.start()
        process = Path("/proc") / str(silo.process_id)
        status = (process / "status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert ("Seccomp:\t2" in status) == ("seccomp" not in silo.unconfined)
        open_files = {os.readlink(handle).split(":")[0] for handle in (process / "fd").iterdir()}
        assert open_files == {"pipe", "/dev/null"}


def test_what_a_machine_cannot_confine_is_said(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import platform; platform.machine = lambda: 'riscv64'")
    monkeypatch.setattr(worker, "_ROOT", f"{tmp_path}{os.pathsep}{worker._ROOT}")
    with Worker("silo") as silo:
        assert silo.unconfined == ()
        silo.start()
        assert "seccomp" in silo.unconfined


def test_a_process_that_computes_too_long_is_ended_by_the_system():
    code = textwrap.dedent("""
        from common.encryption.confinement import limit_processor
        limit_processor(0)
        while True:
            pass
    """)
    result = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, timeout=60)
    assert result.returncode == -signal.SIGXCPU


def test_tenseal_is_loaded_by_worker_processes_only():
    code = "import sys, common.encryption; common.encryption.EncryptedRanker; assert 'tenseal' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent, timeout=60)


class TestFrames:
    @pytest.fixture
    def pipe(self):
        reading, writing = os.pipe()
        yield reading, writing
        for handle in (reading, writing):
            try:
                os.close(handle)
            except OSError:
                continue

    def test_parts_arrive_whole(self, pipe):
        reading, writing = pipe
        parts = [b"", b"a", bytes(3 << 20)]
        sender = threading.Thread(target=frames.write, args=(writing, parts))
        sender.start()
        assert frames.read(reading) == parts
        sender.join()

    @pytest.mark.parametrize(
        "content", [b"", b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1" + b"\xff" * 8, b"\0\0\0\1"]
    )
    def test_what_is_no_frame_is_refused(self, pipe, content):
        reading, writing = pipe
        os.write(writing, content)
        os.close(writing)
        with pytest.raises(frames.PipeClosed):
            frames.read(reading)

    def test_silence_and_a_reader_that_does_not_read_end_at_the_deadline(self, pipe):
        reading, writing = pipe
        with pytest.raises(frames.PipeClosed, match="in time"):
            frames.read(reading, deadline=time.monotonic() + 0.05)
        os.set_blocking(writing, False)
        with pytest.raises(frames.PipeClosed, match="in time"):
            frames.write(writing, [bytes(4 << 20)], deadline=time.monotonic() + 0.05)

    def test_a_reader_that_left_is_noticed(self, pipe):
        reading, writing = pipe
        os.close(reading)
        with pytest.raises(frames.PipeClosed, match="gone"):
            frames.write(writing, [b"hello"])
