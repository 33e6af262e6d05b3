"""What may be disclosed, to whom and how often: profiles with their floors, and how galleries may change.

Imports common only. Nothing here needs a network, a key or a file.
"""
