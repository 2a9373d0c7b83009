"""What a repository holds: its packs and what is in them."""
