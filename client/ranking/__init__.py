"""A hospital's part in ranking between hospitals: gallery epochs, answers to others, its own questions.

Imports client and common. Nothing here knows the relay but as "ask that silo, under that topic".
"""
