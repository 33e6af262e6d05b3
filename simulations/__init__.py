"""Researchers: scenarios, engines, synthetic faces, baselines, benchmarks and the report.

May import every other folder; nothing imports it.
"""
