"""From nothing to a running consortium: provisioning code and deployment files.

Imports common only.
"""
