"""Running programs: sessions, trees, ports, environments."""
