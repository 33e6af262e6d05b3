"""Releases: a federated model as files that silos verify before they load it, its signature and its model card.

Every folder may import this one; only ``encoder`` loads torch.
"""
