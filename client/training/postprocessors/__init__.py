"""What is done to an update between training and signing, one file a step, in the order of ``steps``.

The floors are the hospital's: no round can leave a step out. Only the agent's training desk imports this.
"""
