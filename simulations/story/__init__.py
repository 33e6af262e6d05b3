"""A consortium's story, told by the commands that its people type: ``phenofed poc story`` and ``make story``.

``telling`` reads as documentation; ``stage`` runs what it says and keeps the transcript; ``desks`` gives each
hospital the photos that it would have on its own disk; ``holding`` looks at disks. Imports everything.
"""
