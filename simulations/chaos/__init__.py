"""The chaos suite: a consortium of real processes that is hurt on purpose, and what became of it. Tests and
``phenofed poc chaos`` run it; docs/reliability.md shows its table. Imports everything; nothing imports it.
"""
