"""``relay.yaml``: what ``phenofed coordinator up`` runs from.

address: 0.0.0.0
port: 443
certificate: certificate.pem      # paths are relative to the file
key: key.pem
ca: ca.pem                        # signs the silos' certificates
roster: roster.json
roster_key: "64 hexadecimal digits: the offline key that may sign the roster"
metrics_port: 9464                # on loopback; left out, the system chooses, see coordinator status
training_metrics_port: 9466       # of whoever leads a run, likewise
limits: {heartbeat_seconds: 20}   # left out, the defaults of server/relay/limits.py
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from common.config import Settings, load
from common.consortium.fields import Hash
from common.transport.tls import TlsFiles
from server.relay.limits import Limits

FILE = "relay.yaml"


class RelaySettings(Settings):
    """The file's keys; port 0 leaves the choice to the system."""

    address: str = Field(min_length=1, max_length=255)
    port: int = Field(ge=0, le=65535)
    certificate: Path
    key: Path
    ca: Path
    roster: Path
    roster_key: Hash
    metrics_port: int = Field(default=0, ge=0, le=65535)
    training_metrics_port: int = Field(default=0, ge=0, le=65535)
    limits: Limits = Limits()

    @property
    def listen(self) -> str:
        """``host:port``; an IPv6 address stands in brackets."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    @property
    def tls(self) -> TlsFiles:
        """The relay's own certificate, and who signs the silos'."""
        return TlsFiles(self.certificate, self.key, self.ca)


def read_settings(folder: Path) -> RelaySettings:
    """The settings in ``folder``, with whole paths.

    Raises:
        ConfigError: the file is missing or does not fit; all problems in one message.
    """
    settings = load(folder / FILE, RelaySettings)
    paths = {name: folder / getattr(settings, name) for name in ("certificate", "key", "ca", "roster")}
    return settings.model_copy(update=paths)
