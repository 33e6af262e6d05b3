"""Children of a killed parent: the next one ends them, and finds their ports free."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.children import end_former

# It holds memory, so that its end takes a while: the port is its own until then.
LISTENING = """
import socket, sys, time
held = bytearray(b"x") * (400 << 20)
door = socket.create_server(("127.0.0.1", 0))
print(door.getsockname()[1], flush=True)
time.sleep(600)
"""


@contextmanager
def former(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """(a child that nobody waits for, its port); its number lies in ``child.pid``."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENING], cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        (folder / "child.pid").write_text(f"{process.pid}\n")
        yield process, port
    finally:
        process.kill()
        process.communicate()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_a_former_child_is_gone_with_its_port_before_the_next_one_starts(tmp_path: Path) -> None:
    with former(tmp_path) as (_, port):
        assert answers(port)
        end_former(tmp_path / "child.pid", sys.executable)
        assert not answers(port)


def test_a_process_that_is_another_by_now_is_left_alone(tmp_path: Path) -> None:
    with former(tmp_path) as (process, port):
        end_former(tmp_path / "child.pid", "/another/program")
        (tmp_path / "elsewhere").mkdir()
        number = tmp_path / "elsewhere" / "child.pid"
        number.write_text(f"{process.pid}\n")
        end_former(number, sys.executable)
        assert process.poll() is None
        assert answers(port)


def test_a_number_that_is_none_ends_nobody(tmp_path: Path) -> None:
    with former(tmp_path) as (process, port):
        for content in ("", "x", "-1", "0", "99999999999"):
            (tmp_path / "child.pid").write_text(content)
            end_former(tmp_path / "child.pid", sys.executable)
        end_former(tmp_path / "missing.pid", sys.executable)
        assert process.poll() is None
        assert answers(port)
