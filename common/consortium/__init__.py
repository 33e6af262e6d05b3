"""Who takes part and what they have agreed: identities, the roster, the syndrome registry, gallery epochs, panels.

Imports common only. Everything here is signed or bound by a hash, and nothing here needs a network.
"""
