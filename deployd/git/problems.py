"""What can be wrong with what a git peer sends; each message is a sentence for that peer."""

from __future__ import annotations


class GitProblem(Exception):
    """Something that a peer sent was refused."""


class BadRequest(GitProblem):
    """The request is not git's protocol."""


class BadPack(GitProblem):
    """The pack is damaged, too large, or not self-consistent."""


class BadObject(GitProblem):
    """An object is malformed, unsafe, or refers to what is not there."""


class BadRefs(GitProblem):
    """The list of refs is damaged."""


class NotOurs(GitProblem):
    """The peer wants an object that this repository does not offer it."""
