"""What an insider learns from answers that he may have: one file an attack, each with ``measure``.

The insider is a hospital of the consortium with a changed querier: it chooses its questions, reads the decrypted
sums of its panel before they are rounded, knows the sealed counts' totals, and holds embeddings of other patients.
All randomness comes from a seed. Nothing here encrypts: what masks and noise leave of a sum is added in clear.
"""
