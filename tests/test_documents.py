"""What the documents promise exists, and fits the code."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.machine import REPORTED
from deployd.model.instance import State
from deployd.registry.owner import Presence

TOP = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def documents() -> list[Path]:
    return [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]


class DocumentTests(SynchronousTestCase):
    def test_every_link_leads_somewhere(self) -> None:
        broken = [
            f"{document.name}: {target}"
            for document in documents()
            for target in LINK.findall(document.read_text())
            if not (document.parent / target).exists()
        ]
        self.assertEqual(broken, [])

    def test_every_document_is_in_the_index(self) -> None:
        index = (TOP / "docs" / "index.md").read_text()
        missing = [path.stem for path in (TOP / "docs").glob("*.md") if path.stem != "index" and path.stem not in index]
        self.assertEqual(missing, [])

    def test_every_note_that_is_cited_is_written(self) -> None:
        cited, written = set(), set()
        for path in (TOP / "deployd").rglob("*.py"):
            text = path.read_text()
            cited.update(re.findall(r"\(Note \[([^]]+)\]", text))
            written.update(re.findall(r"^\s*Note \[([^]]+)\]\n\s*~~~", text, re.M))
        self.assertEqual(cited - written, set())

    def test_every_state_of_an_instance_is_drawn(self) -> None:
        text = (TOP / "docs" / "state-machines.md").read_text()
        self.assertEqual([state for state in REPORTED if state not in text], [])
        self.assertEqual([state.value for state in State if state.value not in text], [])

    def test_every_state_of_an_owner_is_drawn(self) -> None:
        text = (TOP / "docs" / "state-machines.md").read_text()
        self.assertEqual([state.value for state in Presence if f"| `{state.value}` |" not in text], [])

    def test_every_path_of_the_code_that_is_named_exists(self) -> None:
        missing = [
            f"{document.name}: {path}"
            for document in documents()
            for path in re.findall(r"`((?:deployd|tests|benchmarks|examples)/[\w./-]+[/y])`", document.read_text())
            if not (TOP / path).exists()
        ]
        self.assertEqual(missing, [])

    def test_every_file_of_the_git_service_is_on_its_map(self) -> None:
        text = (TOP / "docs" / "git.md").read_text()
        rooms = re.split(r"^`(deployd/git/(?:\w+/)?)`", text[text.index("## For who changes it") :], flags=re.M)[1:]
        named = {room + name for room, map in zip(rooms[::2], rooms[1::2], strict=True) for name in _tabled(map)}
        there = {str(path.relative_to(TOP)) for path in (TOP / "deployd" / "git").rglob("*.py")}
        self.assertEqual(named, {path for path in there if not path.endswith("__init__.py")})


def _tabled(text: str) -> list[str]:
    """The files that the first column of a table names."""
    rows = re.findall(r"^\| ([^|]+) \|", text.partition("\n#")[0], re.M)
    return [name for row in rows for name in re.findall(r"`(\w+\.py)`", row)]
