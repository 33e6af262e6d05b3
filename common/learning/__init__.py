"""Local training of one silo: plan, episodes, losses, augmentation, trainer. One idea a file.

Knows nothing of Flower, of other silos or of files. client, server and simulations may import it.
"""
