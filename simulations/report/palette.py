"""The report's colours in both schemes.

Hues follow Okabe and Ito (2008), which stay apart for colour-blind readers, darkened or lightened until text has
a contrast of 4.5 and marks of 3 to the paper (WCAG 2.2). No meaning hangs on colour alone: bars and lines carry
their names.
"""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "wash": "#f4f6f8",
    "rule": "#d8dee5",
    "ink": "#17212b",
    "soft": "#52606d",
    "accent": "#005f99",
    "accent-wash": "#e9f3fa",
    "caution": "#7a4a00",
    "caution-wash": "#fdf5e6",
    "pretrained": "#7b8794",
    "local": "#bd7200",
    "federated": "#0072b2",
    "centralised": "#00815e",
    "encrypted": "#a8478a",
    "grid": "#e3e8ed",
    "halo": "none",
}
DARK = {
    "paper": "#12181f",
    "wash": "#1a222b",
    "rule": "#323e4a",
    "ink": "#e8edf2",
    "soft": "#a3b1bf",
    "accent": "#74c0f0",
    "accent-wash": "#16293a",
    "caution": "#f0c674",
    "caution-wash": "#2b2417",
    "pretrained": "#8d9aa7",
    "local": "#e09c35",
    "federated": "#56b4e9",
    "centralised": "#35b890",
    "encrypted": "#d987bd",
    "grid": "#28323c",
    "halo": "#12181f",
}
TEXT_PAIRS = (
    ("ink", "paper"),
    ("ink", "wash"),
    ("soft", "paper"),
    ("soft", "wash"),
    ("accent", "paper"),
    ("accent", "wash"),
    ("ink", "accent-wash"),
    ("soft", "accent-wash"),
    ("accent", "accent-wash"),
    ("ink", "caution-wash"),
    ("caution", "caution-wash"),
)
"""(text, ground) as they meet on the page."""
MARKS = ("pretrained", "local", "federated", "centralised", "encrypted")
"""Colours of bars, lines and dots; each stands on paper and on wash."""


def contrast(first: str, second: str) -> float:
    """The WCAG contrast ratio of two #rrggbb colours, 1 to 21."""
    bright, dim = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
