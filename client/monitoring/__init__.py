"""What hospital IT may watch of its agent: figures for Prometheus, a line a request in the log. Never a patient.

Only client code imports it.
"""
