"""What is a request, and what is none."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.problems import BadRequest
from deployd.git.serving.request import Acks, FetchRequest, parse, parse_arguments, parse_command
from tests.git.serving.clients import command, lines

ONE, TWO = "1" * 40, "2" * 40
WANT = f"want {ONE} side-band-64k ofs-delta agent=git/2.20"


def ids(*names: str) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, names))


class Version0(SynchronousTestCase):
    def refused(self, *body: str) -> str:
        return str(self.assertRaises(BadRequest, parse, lines(*body)))

    def test_wants_capabilities_cuts_and_haves_are_read(self) -> None:
        request = parse(
            lines(WANT, f"want {TWO}", f"shallow {TWO}", "deepen 3", "", f"have {ONE}", f"have {TWO}", "done")
        )
        self.assertEqual((request.wants, request.haves), (ids(ONE, TWO), ids(ONE, TWO)))
        self.assertEqual((request.shallow, request.depth), ({bytes.fromhex(TWO)}, 3))
        self.assertLessEqual({b"side-band-64k", b"ofs-delta", b"agent=git/2.20"}, request.options)
        self.assertTrue(request.done and request.asks and request.deepens)
        self.assertEqual(parse(lines(WANT, "filter blob:none", "")).filter, "blob:none")
        request = parse(lines(WANT, "deepen-since 1700000000", "deepen-not refs/tags/v", "deepen-not x", ""))
        self.assertEqual((request.since, request.excluded), (1700000000, (b"refs/tags/v", b"x")))
        self.assertFalse(request.asks)

    def test_the_best_way_of_acknowledging_is_taken(self) -> None:
        for words, way in (("", Acks.ONE), ("multi_ack", Acks.MULTI), ("multi_ack multi_ack_detailed", Acks.DETAILED)):
            self.assertIs(parse(lines(f"{WANT} {words}".strip(), "", "done")).acks, way)

    def test_a_flush_alone_is_how_git_hangs_up(self) -> None:
        for body in (b"", b"0000"):
            self.assertEqual(parse(body).wants, ())

    def test_what_comes_after_the_round_is_not_looked_at(self) -> None:
        request = parse(lines(WANT, "", f"have {ONE}", "", "junk"))
        self.assertEqual((request.haves, request.done), (ids(ONE), False))

    def test_what_is_no_fetch_is_refused(self) -> None:
        for body in (
            [f"have {ONE}"],
            [f"want {ONE[1:]} side-band-64k"],
            [f"want {ONE.replace('1', 'A')} side-band-64k"],
            [WANT, f"want {TWO} side-band-64k"],
            [WANT, f"have {ONE}"],
            [WANT, "done"],
            [WANT, "", f"want {ONE}"],
            [WANT, "", "frob"],
            [WANT, "deepen x"],
            [WANT, "deepen 0"],
            [WANT, "deepen -1"],
            [WANT, "deepen 2147483648"],
            [WANT, "deepen-since"],
            [WANT, "deepen-not a b"],
            [WANT, "filter"],
            [WANT, "filter a b"],
            [WANT + "\0x"],
        ):
            self.refused(*body)
        self.assertIn("side-band-64k", self.refused(f"want {ONE}", ""))
        self.assertIn("together", self.refused(WANT, "deepen 1", "deepen-since 5", ""))

    def test_what_is_no_pkt_line_is_refused(self) -> None:
        for body in (b"garbage", b"00", b"0003", b"fff1", b"0032want", b"-001", lines(WANT)[:-3], b"0001"):
            self.assertRaises(BadRequest, parse, body)


class Version2(SynchronousTestCase):
    def test_a_command_has_capabilities_and_arguments(self) -> None:
        self.assertEqual(parse_command(command("fetch", "done", "x")), (b"fetch", [b"done", b"x"]))
        self.assertEqual(parse_command(lines("command=ls-refs", "")), (b"ls-refs", []))
        self.assertEqual(parse_command(b"0000"), (b"", []))

    def test_what_is_no_command_is_refused(self) -> None:
        for body in (
            lines("agent=git/2", ""),
            lines("command=fetch", "command=ls-refs", ""),
            lines("command=fetch", "frob=1", ""),
            lines("command=fetch", "object-format=sha256", ""),
            lines("command=fetch") + b"00010001" + lines("done", ""),
            b"0001" + lines("done", ""),
            b"0002",
        ):
            self.assertRaises(BadRequest, parse_command, body)

    def test_arguments_come_in_any_order(self) -> None:
        arguments = ["done", f"have {ONE}", "thin-pack", f"want {TWO}", "deepen-relative", "deepen 1", "wait-for-done"]
        request = parse_arguments(argument.encode() for argument in arguments)
        self.assertEqual((request.wants, request.haves, request.depth, request.done), (ids(TWO), ids(ONE), 1, True))
        self.assertLessEqual({b"thin-pack", b"deepen-relative", b"wait-for-done"}, request.options)

    def test_what_was_not_advertised_is_refused(self) -> None:
        for argument in ("want-ref refs/heads/main", "sideband-all", "packfile-uris https", "filter", ""):
            self.assertRaises(BadRequest, parse_arguments, [argument.encode()])

    def test_nothing_said_is_nothing_wanted(self) -> None:
        self.assertEqual(parse_arguments([]), FetchRequest())
