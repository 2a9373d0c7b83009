"""Git over HTTP, in the reactor's thread."""
