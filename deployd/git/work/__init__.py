"""The worker processes in which git's work is done."""
