"""The port table."""
