"""What comes in with a push, checked before any of it counts."""
