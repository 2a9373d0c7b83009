"""Sphinx's configuration: `make docs`."""

from deployd import __version__

project = "deployd"
copyright = "2026, the deployd developers"
release = __version__
extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "alabaster"
exclude_patterns = ["build"]
# The diagrams are for viewers that draw them; here they are shown as text.
suppress_warnings = ["misc.highlighting_failure"]
