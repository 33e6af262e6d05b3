"""The hospital: a silo's data and what may be done with it, and its thin Flower client.

Imports common only; never server, deploy or simulations.
"""
