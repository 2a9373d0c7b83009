"""A release's environment on the drone: fetched once, sealed on the disk, there without the hub."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, execute, fail, succeed
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.configs import Configs
from deployd.drone.problem import Outage
from deployd.errors import (
    Busy,
    DeploydError,
    Malformed,
    NoAnswer,
    PermissionRefused,
    Refused,
    UnknownCommit,
    Unreachable,
)
from deployd.model.instance import AssignedInstance
from deployd.planning.reconcile import CheckoutKey

CANARY = "xyzzy-canary"
BARE = AssignedInstance("http-1", "webapp", "v1", "c0ffee" * 6 + "abcd", "http", ("serve",), True)
LINE = evolve(BARE, config=3)
KEY = CheckoutKey.of(LINE)


class ConfigsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp())
        self.top.mkdir()
        self.said: dict[str, str] | bytes = {"A": CANARY}
        self.problem: DeploydError | None = None
        self.held: Deferred[bytes] | None = None
        self.fetched: list[str] = []
        self.epoch = "one"
        self.configs = self.begin()

    def begin(self) -> Configs:
        return Configs(
            self.top, lambda function, *arguments: execute(function, *arguments), self.fetch, lambda: self.epoch
        )

    def fetch(self, line: AssignedInstance) -> Deferred[bytes]:
        self.fetched.append(f"{line.release} {line.extra}".strip())
        if self.held is not None:
            return self.held
        if self.problem is not None:
            return fail(self.problem)
        return succeed(self.said if isinstance(self.said, bytes) else json.dumps(self.said).encode())

    def values(self, line: AssignedInstance = LINE) -> dict[str, str]:
        return dict(self.successResultOf(self.configs.values(line)))

    def failure(self, line: AssignedInstance = LINE) -> Any:
        return self.failureResultOf(self.configs.values(line)).value

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.top)) for path in self.top.rglob("*") if path.is_file())

    def test_an_empty_one_needs_neither_hub_nor_disk(self) -> None:
        self.assertEqual(self.values(BARE), {})
        self.assertEqual((self.fetched, self.files()), ([], []))

    def test_is_fetched_once_and_there_without_the_hub_after_a_restart(self) -> None:
        self.assertEqual([self.values(), self.values()], [{"A": CANARY}] * 2)
        self.configs = self.begin()
        self.configs.clean([KEY])
        self.problem = Unreachable("the hub is away")
        self.assertEqual(self.values(), {"A": CANARY})
        self.assertEqual(self.fetched, ["v1"])

    def test_lies_sealed_and_private_on_the_disk(self) -> None:
        self.values()
        self.assertEqual(self.files(), ["config.key", f"configs/webapp/v1-{KEY.commit}.3"])
        for name in self.files():
            path = self.top / name
            self.assertNotIn(CANARY.encode(), path.read_bytes())
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_is_not_used_before_it_is_saved(self) -> None:
        (self.top / "configs").write_text("in the way")
        self.assertIsInstance(self.failure(), Refused)
        (self.top / "configs").unlink()
        self.assertEqual(self.values(), {"A": CANARY})

    def test_nobody_s_fault_while_the_hub_is_away(self) -> None:
        for problem in (Unreachable("the hub is away"), NoAnswer(), Busy()):
            self.problem = problem
            self.assertIsInstance(self.failure(), Outage)
        self.problem = PermissionRefused("d1 is not to run webapp v1")
        self.assertIsInstance(self.failure(), PermissionRefused)
        self.problem = None
        self.assertEqual(self.values(), {"A": CANARY})

    def test_what_is_damaged_or_sealed_with_another_key_is_fetched_anew(self) -> None:
        self.values()
        path = self.top / "configs" / "webapp" / f"v1-{KEY.commit}.3"
        whole = path.read_bytes()
        for damaged in (whole[:50], b"", b"\xff" * 10):
            path.write_bytes(damaged)
            self.assertEqual(self.values(), {"A": CANARY})
        (self.top / "config.key").unlink()
        self.said = {"A": "new"}
        self.assertEqual(self.values(), {"A": "new"})
        self.assertEqual(len(self.fetched), 5)

    def test_is_asked_for_once_more_after_a_change_of_epoch(self) -> None:
        self.values()
        self.epoch, self.said = "two", {"A": "restored"}
        for problem in (Unreachable(), UnknownCommit()):
            self.problem = problem
            self.assertEqual(self.values(), {"A": CANARY})
        self.problem = None
        self.assertEqual([self.values(), self.values()], [{"A": "restored"}] * 2)
        self.assertEqual(len(self.fetched), 4)

    def test_nonsense_of_the_hub_is_not_saved(self) -> None:
        for said in (b"[]", b'{"A": 1}', b"{"):
            self.said = said
            self.assertIsInstance(self.failure(), Malformed)
        self.assertEqual(self.files(), [])

    def test_those_who_come_at_once_wait_for_the_one_fetch(self) -> None:
        self.held = Deferred()
        one, other = self.configs.values(LINE), self.configs.values(evolve(LINE, id="say-1", role="say"))
        self.assertNoResult(one)
        self.held.callback(b'{"A":"1"}')
        self.assertEqual((self.successResultOf(one), self.successResultOf(other)), ({"A": "1"}, {"A": "1"}))
        self.assertEqual(self.fetched, ["v1"])

    def test_a_waiter_that_goes_takes_nothing_from_the_others(self) -> None:
        self.held = Deferred()
        one, other = self.configs.values(LINE), self.configs.values(LINE)
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.held.callback(b"{}")
        self.assertEqual(self.successResultOf(other), {})

    def test_an_extra_and_another_config_have_their_own(self) -> None:
        self.values()
        self.said = {"B": "2"}
        self.assertEqual(self.values(evolve(LINE, extra="console")), {"B": "2"})
        self.assertEqual(self.values(evolve(LINE, config=0, extra="console")), {"B": "2"})
        self.assertEqual(self.values(evolve(LINE, config=4)), {"B": "2"})
        self.assertEqual(self.values(), {"A": CANARY})
        self.assertEqual(self.fetched, ["v1", "v1 console", "v1 console", "v1"])
        self.assertIsInstance(self.failure(evolve(LINE, extra="../x")), Refused)

    def test_goes_with_its_release(self) -> None:
        self.values()
        self.values(evolve(LINE, extra="console"))
        self.values(evolve(LINE, release="v10"))
        self.successResultOf(Deferred.fromCoroutine(self.configs.forget(KEY)))
        self.assertEqual(self.files(), ["config.key", f"configs/webapp/v10-{KEY.commit}.3"])
        self.successResultOf(Deferred.fromCoroutine(self.configs.forget(KEY)))

    def test_what_comes_while_its_release_goes_does_not_stay(self) -> None:
        self.held = Deferred()
        self.configs.values(LINE).addErrback(lambda _: None)
        going = Deferred.fromCoroutine(self.configs.forget(KEY))
        self.held.callback(b"{}")
        self.successResultOf(going)
        self.assertEqual(self.files(), ["config.key"])

    def test_what_no_release_needs_any_more_is_deleted_at_the_start(self) -> None:
        self.values()
        team = evolve(LINE, app="team/webapp")
        self.values(team)
        (self.top / "configs" / "webapp" / f"v1-{KEY.commit}.3.new").write_text("half")
        self.begin().clean([CheckoutKey.of(team)])
        self.assertEqual(self.files(), ["config.key", f"configs/team+webapp/v1-{KEY.commit}.3"])

    def test_no_log_has_a_value(self) -> None:
        text = io.StringIO()
        observer = lambda event: text.write(f"{formatEvent(event)} {event}\n")  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.values()
        (self.top / "config.key").unlink()
        self.values()
        self.assertIn("is fetched anew", text.getvalue())
        self.assertNotIn(CANARY, text.getvalue())
