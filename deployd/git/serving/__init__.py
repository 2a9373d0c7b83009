"""What goes out to a fetch."""
