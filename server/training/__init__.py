"""Leading a run for real: its folder, the SuperLink, and the ServerApp that Flower starts. See server.rounds.

Used by ``phenofed coordinator train|resume``; flwr is only ever started, never imported here.
"""
