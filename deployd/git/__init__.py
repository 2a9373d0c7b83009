"""Git on the hub and on the drones: the only code that knows dulwich."""
