"""Backbones, the meta-learning head, and how pretrained weights get in and out of them.

Every folder may import this one; it imports torch only in the modules that compute.
"""
