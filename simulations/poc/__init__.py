"""A whole consortium on one machine, for trying it: relay and agents as processes of their own, over loopback.

``phenofed poc`` works through the functions behind the operator's and the hospitals' own commands, so that
everything it leaves in its folder can be used with those. Imports everything; nothing imports it.
"""
