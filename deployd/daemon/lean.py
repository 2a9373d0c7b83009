"""Leaves pyOpenSSL out of a daemon that will not listen with TLS; imported first, for its effect, by tap modules.

Note [A daemon without pyOpenSSL]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Twisted imports pyOpenSSL whenever it is there, for 6 MB in each daemon. Hub and registry only listen, so their own
command line says whether they need it: not without an option that takes an endpoint string. A drone is told addresses
later, so it keeps it.
"""

from __future__ import annotations

import sys
from pathlib import Path

_ENDPOINTS = ("--listen", "--git-listen", "--http-listen")

if Path(sys.argv[0]).name in ("twistd", "twist") and not any(word.startswith(_ENDPOINTS) for word in sys.argv):
    sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]
