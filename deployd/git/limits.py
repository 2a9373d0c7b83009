"""How much one push, fetch or checkout may cost; every number is a bound that the code checks before it pays."""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import evolve, fields_dict, frozen

from deployd.model.invalid import Invalid

_VALUE = re.compile(r"([1-9][0-9]{0,17})([KMG]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@frozen(kw_only=True)
class GitLimits:
    """Bounds, in bytes, counts and seconds.

    ``pack_bytes``: the body of one push, and the pack of one fetch. ``object_bytes``: one inflated blob or delta;
    ``meta_bytes``: one commit, tree or tag, which is held in memory. ``inflated_bytes``: all objects of one pack
    together, work on deltas included; of a small pack, no more than ``inflated_free`` and ``inflation`` for each of its
    bytes (a repository's objects are some 20 to 100 times larger than its pack). ``request_bytes``: the wants and
    haves of one fetch, after gunzip.
    ``stranger_bytes`` and ``stranger_seconds``: the body of who has not shown yet that more is allowed.
    ``body_seconds``: how long the body of one request may take to arrive; ``stall_seconds``: how long a reader may take
    nothing; ``answer_seconds``: how long one request may take in all, once its body is there. ``question_seconds``,
    ``fetch_seconds`` and ``push_seconds``: how long a worker may think about a request, make a pack, take a push.
    ``spool_bytes``: all bodies together that are on their way or wait for a worker.
    ``requests``: how many are under way at once, ``client_requests`` of them from one address. ``pushes_waiting``: how
    many to one app may wait for their turn. ``followers``: the pushers who hear at one time how their deploys go.
    ``cache_bytes`` and ``cache_files``: packs that are made or were made lately, on the disk.
    ``refusal_seconds``: how long the answer to wrong credentials is put off at most; ``refusals_waiting``: of so
    many at once. ``consolidated_bytes``: packs that cost more to copy than this together are not merged;
    ``pushes_between``: how many pushes an app takes before its packs are looked at again;
    ``unreachable_seconds``: what no ref reaches is kept this long at least.
    ``checkout_files``, ``checkout_bytes`` and ``checkout_depth``: entries, bytes in files, and directories inside each
    other, of one checkout.
    """

    pack_bytes: int = 1 << 30
    objects: int = 1_000_000
    object_bytes: int = 100_000_000
    meta_bytes: int = 16 << 20
    inflated_bytes: int = 16 << 30
    inflated_free: int = 512 << 20
    inflation: int = 200
    delta_depth: int = 4096
    commands: int = 20_000
    push_options: int = 100
    option_bytes: int = 1000
    refs: int = 100_000
    request_bytes: int = 8 << 20
    stranger_bytes: int = 64 << 10
    body_seconds: float = 3600.0
    stranger_seconds: float = 30.0
    stall_seconds: float = 60.0
    answer_seconds: float = 6 * 3600.0
    question_seconds: float = 60.0
    fetch_seconds: float = 1800.0
    push_seconds: float = 3600.0
    spool_bytes: int = 8 << 30
    requests: int = 1024
    client_requests: int = 256
    followers: int = 100
    cache_bytes: int = 4 << 30
    cache_files: int = 500
    refusal_seconds: float = 5.0
    refusals_waiting: int = 256
    pushes_waiting: int = 32
    consolidated_bytes: int = 2 << 30
    pushes_between: int = 8
    unreachable_seconds: float = 14 * 86400.0
    checkout_files: int = 200_000
    checkout_bytes: int = 4 << 30
    checkout_depth: int = 128


def limits_of(settings: Iterable[str]) -> GitLimits:
    """The usual bounds but for ``settings``: ``NAME=N``, the name with hyphens, N with K, M or G for binary multiples.

    Raise Invalid with a sentence.
    """
    changes: dict[str, int] = {}
    names = {name.replace("_", "-"): name for name in fields_dict(GitLimits)}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in names:
            raise Invalid(f"there is no limit {name!r}; there are {', '.join(sorted(names))}")
        number = _VALUE.fullmatch(value)
        if not number:
            raise Invalid(f"{name} is a whole number above 0, with K, M or G behind it or not: {name}=2G")
        changes[names[name]] = int(number[1]) * _UNITS[number[2]]
    return evolve(GitLimits(), **changes)
