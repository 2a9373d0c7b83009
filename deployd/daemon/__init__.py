"""What every daemon has: options, a state directory of its own, logs, one line when it cannot go on."""
