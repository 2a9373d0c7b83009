"""How far the build of each checkout is, in a small file beside it; everything here blocks.

Note [A tree half built]
~~~~~~~~~~~~~~~~~~~~~~~~
A step that runs in the checkout itself may leave it in any state when it fails or is killed, and what a build made of
that would be like no other. So it is written down before such a step begins that the tree is *touched*; only a whole
build makes that good again, and a checkout that was touched and not done is made anew before the next try.
"""

from __future__ import annotations

import json
from pathlib import Path

from attrs import asdict, frozen

from deployd.git.disk import replace_file

_PREFIX = ".built-"


@frozen
class Built:
    """``caches`` are the digests of those that the checkout has links to, or is about to have."""

    done: bool = False
    touched: bool = False
    caches: tuple[str, ...] = ()


def read(checkout: Path) -> Built:
    try:
        said = json.loads(_path(checkout).read_bytes())
        return Built(said["done"], said["touched"], tuple(said["caches"]))
    except FileNotFoundError:
        return Built()
    except (ValueError, KeyError, TypeError):
        # Nobody knows what became of the tree.
        return Built(touched=True)


def write(checkout: Path, built: Built) -> None:
    replace_file(_path(checkout), json.dumps(asdict(built)).encode())


def forget(checkout: Path) -> None:
    """The checkout goes, or another one comes in its place: do this before."""
    _path(checkout).unlink(missing_ok=True)


def clean(directory: Path) -> None:
    """Delete what is said of checkouts in ``directory`` that are not there."""
    for path in directory.glob(f"{_PREFIX}*"):
        if not path.with_name(path.name.removeprefix(_PREFIX)).is_dir():
            path.unlink(missing_ok=True)


def _path(checkout: Path) -> Path:
    return checkout.with_name(_PREFIX + checkout.name)
