"""Which worker gets which job: a decision about values, without clock or process.

Jobs are given out in the order in which they came. A job goes to the idle worker that has its repository open, else to
the one that has been idle longest; where none is idle, a new worker is started for it, as long as there may be one
more. No kind of job gets the last worker of a lane: pushes go on however much is fetched, and the other way round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attrs import frozen


@frozen
class Wish:
    """A job that waits: the repository that it is about, and its kind; "" is of none."""

    repository: str
    kind: str


@frozen
class Post:
    """A worker: what it is ``doing`` (``idle``, ``starting``, ``busy``, ``leaving``), and of which kind its job is.

    ``repositories``: those that it has had lately; ``since``: when its last job ended, or it began.
    """

    doing: str
    kind: str = ""
    repositories: tuple[str, ...] = ()
    since: float = 0.0


@frozen
class Allotment:
    """``given``: (number of a wish, number of a post); ``start``: how many new workers there should be."""

    given: tuple[tuple[int, int], ...] = ()
    start: int = 0


def allot(wishes: Sequence[Wish], posts: Sequence[Post], most: int) -> Allotment:
    """Give out ``wishes``, the oldest first, in a lane that may have ``most`` workers."""
    idle = [number for number, post in enumerate(posts) if post.doing == "idle"]
    starting = sum(post.doing == "starting" for post in posts)
    busy = Counter(post.kind for post in posts if post.doing == "busy")
    limit = max(1, most - 1)
    given, start = [], 0
    for number, wish in enumerate(wishes):
        if wish.kind and busy[wish.kind] >= limit:
            continue
        if idle:
            best = min(idle, key=lambda post: (wish.repository not in posts[post].repositories, posts[post].since))
            idle.remove(best)
            given.append((number, best))
        elif starting:
            starting -= 1
        elif len(posts) + start < most:
            start += 1
        else:
            break
        busy[wish.kind] += 1
    return Allotment(tuple(given), start)
