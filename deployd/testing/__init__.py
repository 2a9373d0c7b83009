"""Fakes and strategies, verified by the suites that the real things pass."""
