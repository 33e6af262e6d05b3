"""Comparing unsolved patients with another hospital's, opt-in: questions, answers, links, and what became of them.

Imports client and common. Independent of the network: whoever uses it carries the bytes. The encryption is
common.encryption.gram_session.
"""
