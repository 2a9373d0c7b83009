"""What a hub's lines must be, before anything is done with them."""

from __future__ import annotations

from deployd.model.instance import AssignedInstance, Goal
from deployd.model.invalid import Invalid
from deployd.model.names import app_name, is_commit, release_number, role_name, shown


def check_line(line: AssignedInstance) -> None:
    """Raise Invalid unless its names can be names of files: a broken hub must not make a drone write elsewhere."""
    app_name(line.app)
    role_name(line.role)
    check(is_commit(line.commit), line.commit, "a commit")
    check(release_number(line.release) is not None, line.release, "a release")
    role, _, digest = line.id.rpartition("-")
    check(role == line.role and digest.isalnum() and digest.isascii() and len(digest) < 65, line.id, "an instance id")
    # What is to end needs no command any more.
    check(bool(line.argv) or line.goal is not Goal.RUN, line.id, "an instance with a command")


def check(right: bool, text: str, what: str) -> None:
    if not right:
        raise Invalid(f"{shown(text)} is not {what}")
