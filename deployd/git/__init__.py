"""The only code that knows dulwich."""
