"""nginx on loopback with the configuration that deploy/ gives away, where the machine has one with stream."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents import wait_until

CONFIGURATION = Path(__file__).parent.parent / "deploy" / "nginx" / "phenofed.conf"


def nginx_command(folder: Path, text: str) -> list[str]:
    """How to start nginx with the configuration ``text``; skips the test where none can."""
    binary = shutil.which("nginx")
    if binary is None:
        pytest.skip("nginx is not installed")
    about = subprocess.run([binary, "-V"], capture_output=True, text=True, check=True).stderr
    if "--with-stream=dynamic" in about:
        places = [Path("/usr/lib/nginx/modules"), Path(binary).parent.parent / "lib" / "nginx" / "modules"]
        module = next((path for place in places if (path := place / "ngx_stream_module.so").exists()), None)
        if module is None:
            pytest.skip("nginx has no stream module here (Debian: libnginx-mod-stream)")
        text = f"load_module {module};\n{text}"
    (folder / "nginx.conf").write_text(text.replace("/tmp/phenofed-", f"{folder}/"))
    return [binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


@contextlib.contextmanager
def nginx(command: list[str], port: int) -> Iterator[None]:
    """A running nginx that listens on ``port``."""
    with subprocess.Popen(
        [*command, "-g", "daemon off; master_process off;"], stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: _listens(port))
            yield
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
