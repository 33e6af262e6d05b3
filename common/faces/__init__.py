"""From a photo to an aligned 112x112 RGB crop: decode, detect, align, judge, render views.

The only code that decodes photographs. Imports nothing of cohorts but their records.
"""
