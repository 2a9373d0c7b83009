"""deployctl."""
