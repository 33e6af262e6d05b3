"""The hospital's part in training: what its agent does for a run, and the Flower node that carries the messages.

The Flower side (client.app, ``forwarding``) loads neither torch nor keys; all that it may ask is in ``desk``.
"""
