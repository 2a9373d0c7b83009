"""Every Command of every conversation survives real bytes, and says enough about itself."""

from __future__ import annotations

import importlib
import pkgutil

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

import deployd.wire
from deployd.errors import Malformed
from deployd.model.instance import ObservedInstance, State
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.testing.strategies import arguments, documents, values
from deployd.wire.codec import Structure
from deployd.wire.command import COMMON
from deployd.wire.documents import Json
from deployd.wire.fleet import ObservedInstances
from deployd.wire.keeping import Launch, Start
from deployd.wire.lookup import RevisionArgument
from deployd.wire.paging import MAX_PARTS, PAGE_BYTES, Assembly, pages

SAYS_WHO = r"(?i)\b(to (hub|drone|registry|router|worker|keeper|main process|server)|either side)\b"
NAMES = [module.name for module in pkgutil.iter_modules(deployd.wire.__path__)]
MODULES = [importlib.import_module(f"deployd.wire.{name}") for name in NAMES]
COMMANDS = sorted(
    {
        value
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, amp.Command) and value is not amp.Command
    },
    key=lambda command: command.__name__,
)


def through_bytes(objects: dict, declared: list) -> dict:
    """``objects`` as the other side gets them."""
    box, objects = amp.AmpBox(), dict(objects)
    for name, argument in declared:
        argument.toBox(name, box, objects, None)
    box[b"_command"] = b"x"
    (arrived,) = amp.parseString(box.serialize())
    result: dict = {}
    for name, argument in declared:
        argument.fromBox(name, arrived, result, None)
    return result


class CommandTests(SynchronousTestCase):
    def test_there_are_commands(self) -> None:
        self.assertGreater(len(COMMANDS), 15)

    # Each example has all the commands.
    @settings(max_examples=15)
    @given(st.data())
    def test_every_command_comes_through_as_it_was_sent(self, data: st.DataObject) -> None:
        for command in COMMANDS:
            for declared in (command.arguments, command.response):
                # These go beside the bytes; tests/integration has them.
                declared = [each for each in declared if not isinstance(each[1], amp.Descriptor)]
                sent = data.draw(arguments(declared), label=command.__name__)
                self.assertEqual(through_bytes(sent, declared), sent)

    def test_a_start_has_room_for_all_that_an_app_may_be_given(self) -> None:
        """Its config, the environments of its role, of what was spawned and of what somebody runs, and its command."""
        env = {f"NAME_{number:03}": "ü" * 40 for number in range(1300)}
        launch = Launch("http-1", ("/bin/sh", "-c", "x" * 16_000), env, "/srv", "webapp/v1/http-1")
        self.assertGreater(len(Structure(Launch).toString(launch)), 2 * amp.MAX_VALUE_LENGTH)
        self.assertEqual(through_bytes({"launch": launch}, Start.arguments), {"launch": launch})

    def test_every_command_declares_what_the_wrapper_answers_with(self) -> None:
        for command in COMMANDS:
            self.assertLessEqual(set(COMMON), set(command.errors), command)

    def test_every_command_says_who_sends_it_and_when(self) -> None:
        for command in COMMANDS:
            self.assertRegex(command.__doc__ or "", SAYS_WHO, command)

    def test_names_are_unique_over_all_conversations(self) -> None:
        self.assertEqual(len({command.commandName for command in COMMANDS}), len(COMMANDS))

    def test_the_most_special_error_is_matched_first(self) -> None:
        for command in COMMANDS:
            errors = list(command.errors)
            for position, error in enumerate(errors):
                self.assertFalse([wider for wider in errors[:position] if issubclass(error, wider)], command)


class CodecTests(SynchronousTestCase):
    def test_wrong_types_are_malformed(self) -> None:
        rows = Structure(tuple[Registration, ...])
        for text in (
            b"null",
            b"{}",
            b"[null]",
            b"[{}]",
            b'[{"id": 1, "namespace": "n", "role": "r", "host": "h", "port": 1}]',
            b'[{"id": "a", "namespace": "n", "role": "r", "host": "h", "port": "1"}]',
            b'[{"id": "a", "namespace": "n", "role": "r", "host": "h", "port": 1, "meta": null}]',
            b'[{"id": "a", "namespace": "n", "role": "r", "host": "h", "port": 1, "meta": [{}]}]',
            b"[" * 100_000,
            b"\xff",
        ):
            self.assertRaises(Malformed, rows.fromString, text)

    def test_unknown_states_are_malformed(self) -> None:
        observed = ObservedInstance("i", "a", "v1", "c", "http", State.READY)
        text = Structure(ObservedInstances).toString((observed,))
        self.assertRaises(Malformed, Structure(ObservedInstances).fromString, text.replace(b'"ready"', b'"flying"'))

    def test_json_that_is_none_is_malformed(self) -> None:
        for text in (b"", b"{", b"[" * 100_000, b"\xff"):
            self.assertRaises(Malformed, Json().fromString, text)

    @given(documents)
    def test_documents_come_through(self, document: object) -> None:
        self.assertEqual(Json().fromString(Json().toString(document)), document)


class PagingTests(SynchronousTestCase):
    @given(st.lists(values(ObservedInstance), max_size=5))
    def test_pages_put_together_are_the_whole(self, items: list[ObservedInstance]) -> None:
        assembly: Assembly[ObservedInstance] = Assembly()
        parts = pages(items)
        results = [assembly.add(number, len(parts), part) for number, part in enumerate(parts)]
        self.assertEqual(results[-1], tuple(items))
        self.assertEqual(set(results[:-1]), set())

    def test_a_page_fits_into_an_amp_value(self) -> None:
        observed = ObservedInstance("i", "a", "v1", "c" * 40, "http", State.BACKOFF, tail="ü" * 4000)
        items = [evolve(observed, id=f"i{number}") for number in range(60)]
        parts = pages(items)
        self.assertGreater(len(parts), 5)
        for part in parts:
            self.assertLessEqual(len(Structure(ObservedInstances).toString(part)), PAGE_BYTES + 2)

    def test_nothing_is_one_empty_page(self) -> None:
        self.assertEqual(pages([]), [()])

    def test_part_zero_forgets_a_broken_off_transfer(self) -> None:
        assembly: Assembly[int] = Assembly()
        self.assertIsNone(assembly.add(0, 3, [1]))
        self.assertEqual(assembly.add(0, 1, [2]), (2,))

    def test_parts_out_of_order_are_malformed(self) -> None:
        for part, parts in ((1, 2), (0, 0), (-1, 1), (0, MAX_PARTS + 1), (2, 2)):
            self.assertRaises(Malformed, Assembly().add, part, parts, [])


class RevisionArgumentTests(SynchronousTestCase):
    @given(values(Revision))
    def test_it_is_the_same_on_the_wire_as_the_codecs(self, revision: Revision) -> None:
        theirs, ours = Structure(Revision), RevisionArgument()
        self.assertEqual(ours.toString(revision), theirs.toString(revision))
        self.assertEqual(ours.fromString(theirs.toString(revision)), revision)

    def test_wrong_types_are_malformed(self) -> None:
        for text in (b"null", b"[]", b"{}", b'{"epoch": 1, "number": 1}', b'{"epoch": "a", "number": true}', b"{"):
            self.assertRaises(Malformed, RevisionArgument().fromString, text)
