"""What ``phenofed silo check`` looks at before the agent starts; each check says how to mend what it finds.

Only client code imports it. Nothing here changes a file, and nothing of a patient is shown but numbers.
"""
