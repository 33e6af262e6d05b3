"""Patients, their photos and what is known of them: schema, readers, splits.

Nothing here decodes a photo (common.faces does) or knows of Flower.
"""
