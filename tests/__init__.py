"""Tests, one file for each behaviour."""
