"""Git, releases, desired state and control."""
