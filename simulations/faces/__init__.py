"""Procedural faces: named geometric traits, facial HPO terms, syndromes, a renderer and hospital cameras.

Every picture is drawn from numbers; no photograph of a person is involved. Only ``simulations`` imports it.
"""
