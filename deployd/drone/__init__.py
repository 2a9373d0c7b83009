"""Fetches, checks out, runs, watches and reports."""
