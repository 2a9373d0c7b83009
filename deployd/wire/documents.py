"""JSON documents as AMP arguments; imports nothing that deployctl would have to wait for."""

from __future__ import annotations

import json
from typing import Any

from twisted.protocols import amp

from deployd.errors import Malformed

# Made once: json.dumps makes one for each call with arguments of its own.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dump(value: Any) -> bytes:
    return _encode(value).encode("utf-8", "surrogatepass")


def load(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON") from error


class Json(amp.Argument):
    """Any JSON value, for documents that are shown and not acted on."""

    def toString(self, inObject: Any) -> bytes:
        return dump(inObject)

    def fromString(self, inString: bytes) -> Any:
        return load(inString)
