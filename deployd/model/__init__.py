"""Frozen values; imports the standard library and attrs only."""
