"""What the commits, trees and tags of one pack say: checked one by one, and what they need, gathered.

Everything that any of them refers to must be in the pack or already in the repository. A repository takes only what
passed this, and nothing is ever taken out object by object, so an object that is there is complete below too: that is
why no walk over the old history is needed.

What is gathered goes into a ``Survey``, too, of which the pack's chart is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from attrs import define, field
from dulwich.errors import ObjectFormatException
from dulwich.objects import Commit, Tag

from deployd.git.kinds import BLOB, COMMIT, NUMBERS, TAG, TREE, kind_name
from deployd.git.packs.survey import Survey
from deployd.git.problems import BadObject
from deployd.git.receiving.tree_form import TreeForms

_COMMIT = re.compile(rb"tree ([0-9a-f]{40})\n((?:parent [0-9a-f]{40}\n)*)author [^\n\0]*\ncommitter [^\n\0]*\n")
_WHEN = rb"[^\n\0]*> ([0-9]{1,17}) [+-][0-9]{4}\n"
_USUAL = re.compile(
    rb"tree [0-9a-f]{40}\n(?:parent [0-9a-f]{40}\n)*author "
    + _WHEN
    + rb"committer "
    + _WHEN
    +
    # What else git itself writes; of the rest dulwich is asked.
    rb"(?:encoding [^\n\0]+\n)?(?:gpgsig [^\n\0]*\n(?: [^\n\0]*\n)*)?\n"
)
_TAG = re.compile(rb"object ([0-9a-f]{40})\ntype (commit|tree|blob|tag)\ntag [^\n\0]+\n")
_LAST_TIME = 10**17
_UNREADABLE = (ObjectFormatException, ValueError, TypeError, IndexError, AssertionError)
_KindOf = Callable[[bytes], int | None]


@define
class Census:
    """``parents``: commit -> its parents; ``tags``: tag -> what it is on. Ids have 20 bytes."""

    survey: Survey = field(factory=Survey)
    parents: dict[bytes, tuple[bytes, ...]] = field(init=False, factory=dict)
    tags: dict[bytes, bytes] = field(init=False, factory=dict)
    _forms: TreeForms = field(init=False, factory=TreeForms)
    _commits: set[bytes] = field(init=False, factory=set)
    _trees: set[bytes] = field(init=False, factory=set)
    _blobs: set[bytes] = field(init=False, factory=set)
    _tagged: list[tuple[bytes, int]] = field(init=False, factory=list)

    def add(self, kind: int, object_id: bytes, content: bytes) -> None:
        """Check one object; raise BadObject when it is malformed or unsafe."""
        if kind == TREE:
            self._tree(object_id, content)
        elif kind == COMMIT:
            self._commit(object_id, content)
        elif kind == TAG:
            self._tag(object_id, content)

    def check(self, kind_of: _KindOf) -> None:
        """Raise BadObject unless everything that was referred to exists and is what it should be.

        ``kind_of`` looks in the pack and in the repository; None: in neither.
        """
        _check(((commit, COMMIT) for commit in self._commits), kind_of)
        _check(((tree, TREE) for tree in self._trees), kind_of)
        _check(((blob, BLOB) for blob in self._blobs), kind_of)
        _check(self._tagged, kind_of)

    def _commit(self, object_id: bytes, content: bytes) -> None:
        match = _COMMIT.match(content)
        usual = _USUAL.match(content)
        time = int(usual[2]) if usual else _unusual_time(content)
        if not match or time is None:
            raise BadObject(f"commit {object_id.hex()} is malformed")
        tree = bytes.fromhex(match[1].decode())
        parents = tuple([bytes.fromhex(line[7:].decode()) for line in match[2].splitlines()])
        self._trees.add(tree)
        self._commits.update(parents)
        self.parents[object_id] = parents
        self.survey.commit(object_id, tree, parents, time)

    def _tag(self, object_id: bytes, content: bytes) -> None:
        match = _TAG.match(content)
        try:
            target = Tag.from_string(content).object if match else None
        except _UNREADABLE:
            target = None
        if not match or not target:
            raise BadObject(f"tag {object_id.hex()} is malformed")
        target_id = self.tags[object_id] = bytes.fromhex(match[1].decode())
        self._tagged.append((target_id, NUMBERS[match[2]]))
        self.survey.tag(object_id, target_id)

    def _tree(self, object_id: bytes, content: bytes) -> None:
        trees, blobs = self._forms.parts(object_id, content)
        self._trees.update(trees)
        self._blobs.update(blobs)
        self.survey.tree(object_id, [*trees, *blobs])


def _unusual_time(content: bytes) -> int | None:
    """The time of a commit that is written in a way of its own; None when dulwich cannot read it.

    What dulwich could not read later must not come in: one such commit would end every walk over it.
    """
    try:
        time = Commit.from_string(content).commit_time
    except _UNREADABLE:
        return None
    if not isinstance(time, int):
        return None
    return time if 0 <= time < _LAST_TIME else 0


def _check(wanted: Iterable[tuple[bytes, int]], kind_of: _KindOf) -> None:
    for object_id, kind in wanted:
        actual = kind_of(object_id)
        if actual is None:
            raise BadObject(f"{kind_name(kind)} {object_id.hex()} is missing")
        if actual != kind:
            raise BadObject(f"{object_id.hex()} is a {kind_name(actual)}, not a {kind_name(kind)}")
