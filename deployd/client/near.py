"""Whose rows are near to a program: those of its own release."""

from __future__ import annotations

import os
from collections.abc import Mapping


def own_release(environ: Mapping[str, str] = os.environ) -> str:
    """What to give as ``near`` in an app that deployd runs: its own release, so that its peers of it come first.

    "" in a program that deployd does not run; then no row is nearer than another.
    """
    app, release = environ.get("REPO", ""), environ.get("RELEASE", "")
    return f"{app}:{release}" if app and release else environ.get("COMMIT", "")
