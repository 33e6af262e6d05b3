"""Runs that a hospital was asked to take part in: kept, shown, approved or refused by its own people."""
