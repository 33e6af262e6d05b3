"""The coordinator: training rounds, aggregation and the thin Flower server.

Imports common only; never client, and never the encryption library.
"""
