"""Releases on the coordinator's side: made of a finished run, signed, published, promoted, rolled back."""
