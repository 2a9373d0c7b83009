"""The state directory: private, held by one, saying where the daemon listens."""

from __future__ import annotations

import json
import os
from io import StringIO
from pathlib import Path

from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from deployd.daemon.logs import json_observer
from deployd.daemon.state import StateDirectory
from deployd.errors import Refused


class StateDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "deep" / "state"
        self.state = StateDirectory(self.path)

    def test_it_is_made_for_its_user_only(self) -> None:
        self.state.hold()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o700)

    def test_a_second_daemon_is_refused_until_the_first_lets_go(self) -> None:
        self.state.hold()
        twin = StateDirectory(self.path)
        self.assertIn(str(self.path), str(self.assertRaises(Refused, twin.hold)))
        self.state.release()
        twin.hold()

    def test_a_refused_twin_leaves_the_addresses_of_the_first(self) -> None:
        self.state.hold()
        self.state.publish_addresses(amp="127.0.0.1:1")
        self.assertRaises(Refused, StateDirectory(self.path).hold)
        self.assertTrue((self.path / "addresses.json").exists())

    def test_it_publishes_what_the_daemon_has_and_withdraws_it(self) -> None:
        self.state.hold()
        self.state.publish_addresses(amp="127.0.0.1:1", http="")
        document = json.loads((self.path / "addresses.json").read_text())
        self.assertEqual(document, {"pid": os.getpid(), "amp": "127.0.0.1:1"})
        self.state.release()
        self.assertFalse((self.path / "addresses.json").exists())

    def test_addresses_of_a_killed_daemon_are_gone_once_it_is_held_again(self) -> None:
        self.path.mkdir(parents=True)
        (self.path / "addresses.json").write_text("{}")
        self.state.hold()
        self.assertFalse((self.path / "addresses.json").exists())

    def test_a_place_that_cannot_be_used_is_refused_in_one_line(self) -> None:
        file = Path(self.mktemp())
        file.write_text("")
        error = self.assertRaises(Refused, StateDirectory(file / "state").hold)
        self.assertNotIn("\n", str(error))


class JsonLogTests(SynchronousTestCase):
    def test_an_event_is_one_line_with_its_fields(self) -> None:
        out = StringIO()
        event = {"log_format": "lost {shown}", "log_level": LogLevel.warn, "log_namespace": "n", "log_time": 1.5}
        json_observer(out)({**event, "shown": "hub:1", "other": {1}})
        line = json.loads(out.getvalue())
        self.assertEqual((line["text"], line["level"], line["shown"]), ("lost hub:1", "warn", "hub:1"))
        self.assertEqual(out.getvalue().count("\n"), 1)

    def test_a_failure_is_one_line_too(self) -> None:
        out = StringIO()
        event = {"log_format": "bad", "log_level": LogLevel.critical, "log_failure": Failure(ValueError("x"))}
        json_observer(out)(event)
        self.assertIn("ValueError", json.loads(out.getvalue())["text"])
        self.assertEqual(out.getvalue().count("\n"), 1)
