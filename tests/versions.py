"""Peers of releases that do not exist yet."""

from __future__ import annotations

from common.versions import PROTOCOLS, Hello

LATER = Hello("0.3.0", {name: (newest + 1, newest + 2) for name, (_, newest) in PROTOCOLS.items()})
"""Two releases on: it speaks nothing that this program speaks."""

OTHERS = Hello("0.3.0-fork", {"verse": (1, 1)})
"""Speaks something else altogether."""
