"""deployd: continuous deployment for a few machines; every commit runs beside the earlier ones."""

__version__ = "0.1.0"
