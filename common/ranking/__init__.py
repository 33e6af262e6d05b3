"""Embeddings to ranked syndromes, in clear: the reference that encryption must equal.

Imports common only. ``kernel`` states each score once; the other files say which patients are compared with which.
"""
