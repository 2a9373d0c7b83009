"""Logs on disk, within their budgets."""

from __future__ import annotations

import resource
from contextlib import nullcontext
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.keeper import segments as module
from deployd.keeper.segments import BLOCK, Budgets, Segments
from tests.keeper.house import descriptors

K = 1024
BUDGETS = Budgets(app=64 * K, drone=160 * K, segment=16 * K)


class SegmentsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp()).absolute()
        self.said: list[str] = []
        self.stamp = 100
        self.segments = self.opened()

    def opened(self, budgets: Budgets = BUDGETS) -> Segments:
        made = Segments(self.top, budgets, nullcontext(), self.said.append)
        made.load()
        self.addCleanup(made.close)
        return made

    def write(self, log: str, data: bytes) -> int:
        self.stamp += 1
        self.segments.write(log, self.stamp, data)
        return self.stamp

    def files(self, log: str = "") -> list[str]:
        return sorted(path.name for path in (self.top / log).rglob("*.log"))

    def content(self, log: str) -> bytes:
        return b"".join(path.read_bytes() for path in sorted((self.top / log).glob("*.log")))

    def taken(self, app: str = "") -> int:
        return sum(max(BLOCK, path.stat().st_size) for path in (self.top / app).rglob("*.log"))


class WritingTests(SegmentsCase):
    def test_what_is_written_is_in_a_segment_named_by_its_first_stamp(self) -> None:
        first = self.write("web/v1/a", b"one")
        self.write("web/v1/a", b"two")
        self.assertEqual(self.files("web/v1/a"), [f"{first:020}.log"])
        self.assertEqual(self.content("web/v1/a"), b"onetwo")
        self.assertEqual((self.top / "web/v1/a" / f"{first:020}.log").stat().st_mode & 0o777, 0o600)
        self.assertEqual((self.top / "web/v1/a").stat().st_mode & 0o777, 0o700)

    def test_a_segment_that_would_get_too_large_ends(self) -> None:
        for _ in range(5):
            self.write("web/v1/a", b"x" * 6 * K)
        self.assertEqual(len(self.files()), 3)
        self.assertLessEqual(max(path.stat().st_size for path in self.top.rglob("*.log")), BUDGETS.segment)

    def test_an_earlier_lifes_segment_is_not_gone_on_with(self) -> None:
        """Its end may be torn."""
        self.write("web/v1/a", b"one")
        self.segments = self.opened()
        self.write("web/v1/a", b"two")
        self.assertEqual(len(self.files()), 2)

    def test_hundreds_of_logs_need_few_open_files(self) -> None:
        self.patch(module, "OPEN_FILES", 10)
        before = len(descriptors())
        for _ in range(2):
            for number in range(30):
                self.write(f"app{number % 5}/v1/{number}", b"x")
        self.assertLessEqual(len(descriptors()) - before, module.OPEN_FILES)

    def test_a_full_disk_is_said_once_and_stops_nothing(self) -> None:
        self.write("web/v1/a", b"one")
        self.top.joinpath("bad").write_text("a file where a directory should be")
        self.write("bad/v1/a", b"lost")
        self.write("bad/v1/a", b"lost")
        self.assertEqual(len(self.said), 1)
        self.assertIn("output is lost: Not a directory (bad/v1/a)", self.said)
        self.write("web/v1/a", b"two")
        self.assertEqual(self.content("web/v1/a"), b"onetwo")
        self.assertEqual(self.said[1:], ["output is written again"])

    def test_half_a_record_is_taken_back(self) -> None:
        """As on a disk that gets full in the middle of a write."""
        self.write("web/v1/a", b"x" * 700)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, before)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        self.write("web/v1/a", b"y" * 700)
        self.assertEqual(self.content("web/v1/a"), b"x" * 700)
        self.assertEqual(self.said, ["output is lost: No space left on device (web/v1/a)"])
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        self.write("web/v1/a", b"z" * 700)
        self.assertEqual(self.content("web/v1/a"), b"x" * 700 + b"z" * 700)
        self.assertEqual(self.segments.total, self.taken())


class BudgetTests(SegmentsCase):
    def test_the_oldest_segments_of_an_app_go_first(self) -> None:
        for number in range(10):
            self.write("web/v1/a", bytes([number]) * 12 * K)
        self.assertLessEqual(self.taken("web"), BUDGETS.app)
        content = self.content("web/v1/a")
        self.assertEqual(content[-1], 9)
        self.assertNotIn(b"\0", content)

    def test_a_quiet_log_keeps_its_words_beside_a_chatty_one(self) -> None:
        self.write("web/v1/quiet", b"precious")
        for _ in range(50):
            self.write("web/v1/chatty", b"x" * 12 * K)
        self.assertEqual(self.content("web/v1/quiet"), b"precious")

    def test_apps_share_the_drones_budget_and_the_oldest_goes(self) -> None:
        for app in ("a", "b", "c", "d"):
            for _ in range(5):
                self.write(f"{app}/v1/x", b"x" * 12 * K)
        self.assertLessEqual(self.taken(), BUDGETS.drone)
        self.assertLess(self.taken("a"), self.taken("d"))

    def test_many_small_logs_are_bounded_too(self) -> None:
        for number in range(100):
            self.write(f"web/v1/{number}", b"x")
        self.assertLessEqual(self.taken("web"), BUDGETS.app)
        self.assertEqual(self.content("web/v1/99"), b"x")

    def test_what_is_on_disk_counts_from_the_start(self) -> None:
        for number in range(5):
            self.write("web/v1/a", bytes([number]) * 12 * K)
        self.segments.close()
        self.segments = self.opened(Budgets(app=30 * K, drone=160 * K, segment=16 * K))
        self.assertLessEqual(self.taken("web"), 30 * K)
        self.assertEqual(self.content("web/v1/a")[-1], 4)
        self.assertEqual(self.segments.total, self.taken())

    def test_the_newest_stamp_on_disk_is_known(self) -> None:
        self.write("web/v1/a", b"x")
        newest = self.write("web/v1/b", b"x")
        self.assertEqual(self.opened().load(), newest)

    def test_directories_of_which_all_is_gone_go_too(self) -> None:
        self.write("web/v1/old", b"x" * 12 * K)
        for _ in range(20):
            self.write("web/v2/new", b"x" * 12 * K)
        self.segments = self.opened()
        for _ in range(20):
            self.write("web/v2/new", b"x" * 12 * K)
        self.assertEqual([path.name for path in (self.top / "web").iterdir()], ["v2"])

    @settings(max_examples=30)
    @given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(1, 16 * K)), max_size=60))
    def test_budgets_hold_and_are_counted_right(self, writes: list[tuple[str, str, int]]) -> None:
        for app, log, size in writes:
            self.write(f"{app}/v1/{log}", b"x" * size)
            self.assertLessEqual(self.taken(app), BUDGETS.app)
            self.assertEqual(self.segments.total, self.taken())
        self.assertEqual(self.said, [])
