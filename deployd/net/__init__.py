"""Authenticated, bounded AMP connections for every conversation."""
