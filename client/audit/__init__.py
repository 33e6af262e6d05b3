"""The silo's audit log: who asked what of it, when, and what became of it. Nothing here names a patient.

Lines form a hash chain (``log``), the silo's member key seals its end (``head``), and ``verifying`` says what of
it does not hold. Only the client imports this.
"""
