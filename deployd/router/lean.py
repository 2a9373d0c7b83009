"""Leaves pyOpenSSL out of a router that meets no TLS; imported first, for its effect, by ``tap``.

As in deployd.daemon.lean (Note [A daemon without pyOpenSSL]). The hub may name a registry that is reached over TLS, so
only a router that was told its registry can know.
"""

from __future__ import annotations

import sys
from pathlib import Path


def needs_tls(words: list[str]) -> bool:
    """Whether a router with this command line may meet TLS."""
    registry = any(word.startswith("--registry") for word in words)
    return not registry or any(word.startswith("--certs") or "tls:" in word or "ssl:" in word for word in words)


if Path(sys.argv[0]).name in ("twistd", "twist") and not needs_tls(sys.argv):
    sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]
