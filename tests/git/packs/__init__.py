"""What a repository holds."""
