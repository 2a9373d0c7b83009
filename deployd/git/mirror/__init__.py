"""The drone's copy of a repository, and checkouts of it."""
