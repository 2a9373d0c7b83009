"""The router: which release a request goes to, and the way there and back."""
