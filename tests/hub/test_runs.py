"""Commands that people run, through the hub."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy, DroneAway, Refused, UnknownCommit, UnknownDrone, UnknownInstance, UsageError
from deployd.wire.control import Events, Exec, ExecRead, ExecWrite, Retire
from tests.hub.rig import Cluster, Person
from tests.hub.talking_drone import SILENCE, TalkingDrone

TOML = b'[env]\nMODE = "live"\n'


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.commit = self.cluster.push(files={"Procfile": b"http: serve\n", "deployd.toml": TOML})
        self.drone = TalkingDrone(self.cluster)
        self.other = TalkingDrone(self.cluster, "d2")
        self.cluster.deploy()

    def begin(self, *argv: str, person: Person | None = None, **more: Any) -> dict[str, str]:
        asked = {"app": "webapp", "commit": "v1", "drones": [], "every": False, "env": b"{}"} | more
        answer = (person or self.cluster.person).ask(Exec, argv=list(argv or ("ls", "-l")), **asked)
        self.assertEqual((answer["release"], answer["commit"]), ("v1", self.commit))
        runs: dict[str, str] = answer["runs"]
        return runs

    def read(self, run: str, person: Person | None = None) -> Any:
        return (person or self.cluster.person).ask(ExecRead, run=run, wait=1.0)

    def test_a_command_runs_in_the_release_on_one_drone(self) -> None:
        runs = self.begin(env=b'{"TOKEN": "abc"}')
        ((run, (line, env)),) = self.drone.runs.items()
        self.assertEqual((runs, self.other.runs), ({"d1": run}, {}))
        self.assertEqual(
            (line.id, line.role, line.argv, line.once, line.port), (run, "exec", ("ls", "-l"), True, False)
        )
        self.assertEqual((line.app, line.release, line.commit), ("webapp", "v1", self.commit))
        self.assertEqual((line.settings.env, env), ({"MODE": "live"}, {"TOKEN": "abc"}))

    def test_or_on_those_named_or_on_all(self) -> None:
        self.assertEqual(list(self.begin(drones=["d2"])), ["d2"])
        self.assertEqual(list(self.begin(every=True)), ["d1", "d2"])

    def test_one_that_is_connected_is_preferred(self) -> None:
        self.drone.leave()
        self.assertEqual(list(self.begin()), ["d2"])
        self.assertRaises(DroneAway, self.begin, drones=["d1"])
        self.other.leave()
        self.assertRaises(DroneAway, self.begin)

    def test_input_and_output_go_through(self) -> None:
        (run,) = self.begin().values()
        self.drone.says = SILENCE | {"stdout": b"out\xff", "stderr": b"err"}
        self.assertEqual(self.read(run), self.drone.says)
        self.assertEqual(self.cluster.person.ask(ExecWrite, run=run, data=b"\0in", end=True), {"room": True})
        self.assertEqual(self.drone.written, [(run, b"\0in", True)])

    def test_what_has_ended_is_forgotten(self) -> None:
        (run,) = self.begin().values()
        self.drone.says = SILENCE | {"ended": True, "code": 7}
        self.assertEqual(self.read(run)["code"], 7)
        self.assertRaises(UnknownInstance, self.read, run)

    def test_runs_are_of_one_session_and_end_with_it(self) -> None:
        person = Person(self.cluster)
        (run,) = self.begin(person=person).values()
        self.assertRaises(UnknownInstance, self.read, run)
        person.peer.transport.abortConnection()
        self.cluster.settle()
        self.assertEqual(self.drone.runs, {})

    def test_a_session_that_ends_while_it_begins_one_leaves_none(self) -> None:
        person = Person(self.cluster)
        asked = {"app": "webapp", "commit": "v1", "drones": [], "every": False, "env": b"{}", "argv": ["ls"]}
        self.drone.held = Deferred()
        answer: Deferred[Any] = person.peer.call(Exec, **asked)
        self.cluster.settle()
        person.peer.transport.abortConnection()
        self.cluster.settle()
        self.failureResultOf(answer)
        self.drone.held.callback(None)
        self.assertEqual(len(self.drone.runs), 1)
        self.cluster.settle()
        self.assertEqual(self.drone.runs, {})

    def test_a_drone_that_cannot_begin_ends_it_on_all(self) -> None:
        self.other.problem = Busy("20 commands run already")
        self.assertRaises(Busy, self.begin, every=True)
        self.assertEqual(self.drone.runs, {})

    def test_a_drone_that_goes_away_is_an_error_of_its_own(self) -> None:
        (run,) = self.begin().values()
        self.drone.leave()
        self.assertRaises(DroneAway, self.read, run)

    def test_what_cannot_be_run_is_refused(self) -> None:
        TalkingDrone(self.cluster, "d3", apps=("another",))
        for error, asked in (
            (Refused, {"drones": ["d3"]}),
            (UnknownDrone, {"drones": ["nope"]}),
            (UnknownCommit, {"commit": "v7"}),
            (UsageError, {"env": b'{"PORT": "1"}'}),
            (UsageError, {"env": b'{"TOKEN": 1}'}),
            (UsageError, {"drones": "d1"}),
        ):
            self.assertRaises(error, self.begin, **asked)
        self.assertRaises(UsageError, self.begin, "ls", "a\0b")
        self.cluster.person.ask(Retire, app="webapp", commit="v1")
        self.assertRaises(Refused, self.begin)

    def test_who_has_run_something_where_is_an_event_without_the_command(self) -> None:
        self.begin("psql", "secret", env=b'{"TOKEN": "abc"}')
        rows = self.cluster.person.ask(Events, app="webapp", newest=1, above=0)["rows"]
        self.assertEqual((rows[0]["what"], rows[0]["detail"]), ("exec", "v1 on d1"))
        self.assertNotIn("secret", json.dumps(rows))
