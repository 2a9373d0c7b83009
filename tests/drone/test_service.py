"""A drone and its hub, over real bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.test.iosim import IOPump, connect
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from deployd.drone.instances import Instances
from deployd.drone.journal import Journal
from deployd.drone.log_following import LogFollowing
from deployd.drone.logs import LogFiles
from deployd.drone.port_table import PortTable
from deployd.drone.prefetching import Prefetching
from deployd.drone.reporting import Reporting
from deployd.drone.runs import Runs
from deployd.drone.saving import Saving
from deployd.drone.service import Crew, Drone, Events
from deployd.drone.surroundings import Surroundings
from deployd.errors import Busy, DeploydError, Malformed, NameInUse, SecretRefused, Unreachable, UsageError
from deployd.model.drone import DroneDescription
from deployd.model.instance import AssignedInstance, ObservedInstance
from deployd.model.revision import Revision
from deployd.net.client import Dial
from deployd.net.conversation import Conversation, responder
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.net.peer import Peer
from deployd.net.secret import Secret
from deployd.net.server import ServerFactory, ServerTerms, Session
from deployd.testing.transports import transport
from deployd.wire.fleet import Assign, FetchToken, Join, Prefetch, Report
from deployd.wire.paging import Assembly, pages
from tests.drone.house import COMMIT, House, line


class HubSession(Conversation):
    def __init__(self, hub: Hub, peer: Peer) -> None:
        super().__init__()
        self.hub = hub
        self.peer = peer
        self.assembly: Assembly[ObservedInstance] = Assembly()

    @responder(Join)
    def join(self, description: DroneDescription, advertise: str) -> dict[str, Any]:
        self.hub.joined.append((description, advertise))
        if self.hub.refusal is not None:
            raise self.hub.refusal
        return {
            "epoch": self.hub.epoch,
            "registry": "127.0.0.1:6000",
            "git": "http://127.0.0.1:6002",
            "host": "192.0.2.7",
            "credential": b"accepted",
        }

    @responder(Report)
    async def report(
        self, assignment: Revision, part: int, parts: int, instances: tuple[ObservedInstance, ...]
    ) -> dict[str, Any]:
        whole = self.assembly.add(part, parts, instances)
        if whole is not None:
            self.hub.reports.append((assignment, whole))
            if self.hub.busy:
                self.hub.busy -= 1
                raise Busy()
            await self.hub.reading
        return {}

    @responder(FetchToken)
    def fetch_token(self, app: str) -> dict[str, Any]:
        return {"token": b"token for " + app.encode(), "lifetime": 60.0}


@implementer(IStreamClientEndpoint)
class Hub:
    """A hub at the other end of an endpoint; while ``reading`` has not fired it takes no report."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.epoch = "e1"
        self.up = True
        self.busy = 0
        self.refusal: DeploydError | None = None
        self.secret = Secret("beepboop")
        self.joined: list[tuple[DroneDescription, str]] = []
        self.reports: list[tuple[Revision, tuple[ObservedInstance, ...]]] = []
        self.reading: Deferred[None] = succeed(None)
        self.sessions: list[HubSession] = []
        self.pump: IOPump | None = None

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        if not self.up:
            return fail(ConnectionRefusedError("no"))
        terms = ServerTerms(kind="hub", secret=self.secret, conversations={"drone": self._begin})
        server = ServerFactory(self.clock, terms).buildProtocol(None)
        client = protocolFactory.buildProtocol(None)
        assert server is not None
        self.pump = connect(server, transport(server, True), client, transport(client, False))
        return succeed(client)

    def _begin(self, peer: Peer, session: Session) -> HubSession:
        self.sessions.append(HubSession(self, peer))
        return self.sessions[-1]

    def say(self, command: Any, **arguments: Any) -> Deferred[Any]:
        return self.sessions[-1].peer.call(command, **arguments)

    def assign(self, number: int, *lines: AssignedInstance, epoch: str = "") -> list[Deferred[Any]]:
        revision, parts = Revision(epoch or self.epoch, number), pages(lines)
        return [
            self.say(Assign, revision=revision, part=part, parts=len(parts), instances=page)
            for part, page in enumerate(parts)
        ]

    def cut(self) -> None:
        assert self.pump is not None
        self.pump.serverIO.loseConnection()
        self.pump.flush()
        self.pump = None


class DroneTestCase(SynchronousTestCase):
    known = False

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.house = House(directory)
        self.addCleanup(self.house.close)
        self.clock = self.house.reactor
        self.hub = Hub(self.clock)
        self.journal = Journal(directory / "journal.sqlite")
        self.addCleanup(self.journal.close)
        self.accepted: list[None] = []
        self.refused: list[DeploydError] = []
        self.drone = self.begin(directory)
        self.addCleanup(self.drone.stopService)
        self.addCleanup(self.instances.leave_all)

    def begin(self, directory: Path) -> Drone:
        to_thread: Any = lambda function, *arguments, **named: execute(function, *arguments, **named)  # noqa: E731
        table = PortTable(lambda terms: self.house.rows)  # type: ignore[arg-type, return-value]
        note: Any = lambda **facts: execute(self.journal.note, **facts)  # noqa: E731
        self.surroundings = Surroundings(self.clock, table, "", "", note)
        means = evolve(self.house.means, rows=table, place=self.surroundings.place)
        self.prefetched: list[tuple[str, str, str]] = []
        reporting = Reporting(self.clock, lambda: (self.instances.revision, self.instances.observed()))
        saving = Saving(self.clock, self.journal, to_thread)
        forget: Any = lambda key: succeed(None)  # noqa: E731
        self.instances = Instances(means, saving, self.house.checkouts, forget, reporting.changed)  # type: ignore[arg-type]
        self.instances.recall(self.journal.read())
        prefetching: Any = type("Noting", (Prefetching,), {"add": lambda _, *push: self.prefetched.append(push)})
        logs = LogFollowing(self.clock, to_thread, LogFiles(directory / "logs"))
        runs = Runs(means, lambda changed: None)
        crew = Crew(self.instances, prefetching(self.house.checkouts), self.surroundings, table, reporting, logs, runs)
        events = Events(lambda: self.accepted.append(None), self.refused.append)
        self.identity = Identity.create()
        drone = Drone(DroneDescription("d1", self.identity.owner), "", crew, events, self.known)
        credentials = Credentials("deployd-drone 0.1", "drone", Secret("beepboop"), self.identity)
        drone.dial(Dial(self.clock, self.hub, "localhost:6001", credentials))
        return drone

    def run_drone(self) -> None:
        self.drone.startService()
        self.flush()

    def flush(self, seconds: float = 0.0) -> None:
        for _ in range(max(10, round(seconds * 20))):
            self.clock.advance(seconds / max(10, round(seconds * 20)))
            if self.hub.pump is not None:
                self.hub.pump.flush()

    @property
    def states(self) -> dict[str, str]:
        """As last reported."""
        return {seen.id: seen.state.value for seen in self.hub.reports[-1][1]}


class JoiningTests(DroneTestCase):
    def test_says_who_it_is_and_reports_at_once(self) -> None:
        self.run_drone()
        self.assertEqual(self.hub.joined, [(DroneDescription("d1", self.identity.owner), "")])
        self.assertEqual(self.hub.reports, [(Revision("e1", 0), ())])
        self.assertEqual(len(self.accepted), 1)

    def test_runs_what_it_is_assigned_and_reports_that_it_is_ready(self) -> None:
        self.run_drone()
        answers = self.hub.assign(1, line())
        self.flush()
        for answer in answers:
            self.successResultOf(answer)
        self.assertEqual((self.states, self.hub.reports[-1][0]), ({"http-v1": "ready"}, Revision("e1", 1)))

    def test_an_assignment_may_come_in_parts(self) -> None:
        self.run_drone()
        lines = [evolve(line(release=f"v{number}"), argv=("/bin/sh", "x" * 9000)) for number in range(1, 9)]
        self.assertGreater(len(self.hub.assign(1, *lines)), 1)
        self.flush()
        self.assertEqual(len(self.states), 8)

    def test_apps_are_told_what_the_hub_said(self) -> None:
        self.run_drone()
        self.hub.assign(1, line())
        self.flush()
        env = self.house.process.env
        self.assertEqual(
            (env["DEPLOYD_REGISTRY"], env["DEPLOYD_REGISTRY_URL"]), ("127.0.0.1:6000", "http://127.0.0.1:6080")
        )
        self.assertEqual(env["HOST"], "0.0.0.0")
        self.assertEqual(self.hub.reports[-1][1][0].host, "192.0.2.7")

    def test_asks_for_a_token_and_knows_where_the_repository_is(self) -> None:
        self.run_drone()
        source = self.drone.source("team/webapp")
        self.flush()
        found = self.successResultOf(source)
        self.assertEqual((found.url, found.token), ("http://127.0.0.1:6002/team/webapp.git", "token for team/webapp"))

    def test_says_that_the_hub_is_away_when_it_is(self) -> None:
        self.hub.up = False
        self.run_drone()
        self.failureResultOf(self.drone.source("webapp"), Unreachable)

    def test_passes_pushes_on(self) -> None:
        self.run_drone()
        self.hub.say(Prefetch, app="webapp", ref="refs/heads/master", commit=COMMIT)
        self.flush()
        self.assertEqual(self.prefetched, [("webapp", "refs/heads/master", COMMIT)])

    def test_refuses_names_that_lead_elsewhere(self) -> None:
        self.run_drone()
        for bad in (
            evolve(line(), app="../../x"),
            evolve(line(), commit="HEAD"),
            evolve(line(), release="../v1"),
            evolve(line(), id="../../etc/x"),
            evolve(line(), argv=()),
        ):
            (answer,) = self.hub.assign(1, bad)
            self.flush()
            self.failureResultOf(answer, UsageError)
        answer = self.hub.say(Prefetch, app="../x", ref="r", commit=COMMIT)
        self.flush()
        self.failureResultOf(answer, UsageError)
        self.assertEqual((self.instances.observed(), self.prefetched), ((), []))

    def test_refuses_parts_out_of_order(self) -> None:
        self.run_drone()
        answer = self.hub.say(Assign, revision=Revision("e1", 1), part=1, parts=2, instances=())
        self.flush()
        self.failureResultOf(answer, Malformed)


class ReconnectingTests(DroneTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_drone()
        self.hub.assign(1, line())
        self.flush()

    def test_apps_run_on_while_the_hub_is_away_and_are_reported_again(self) -> None:
        self.hub.up = False
        self.hub.cut()
        self.flush(30)
        self.assertEqual(len(self.house.keeper.running), 1)
        self.hub.up = True
        self.hub.reports.clear()
        self.flush(10)
        self.assertEqual((self.states, self.hub.reports[-1][0]), ({"http-v1": "ready"}, Revision("e1", 1)))

    def test_a_new_hub_sees_orphans_and_ends_nothing(self) -> None:
        self.hub.epoch = "e2"
        self.hub.cut()
        self.flush(10)
        self.assertEqual((self.states, self.hub.reports[-1][0]), ({"http-v1": "orphan"}, Revision("e2", 0)))
        self.assertEqual(len(self.house.keeper.running), 1)

    def test_one_report_is_in_flight_and_the_newest_wins(self) -> None:
        self.hub.reading = Deferred()
        before = len(self.hub.reports)
        self.house.process.exit(1)
        self.flush()
        self.flush(2)
        self.assertEqual(len(self.hub.reports), before + 1)
        reading, self.hub.reading = self.hub.reading, succeed(None)
        reading.callback(None)
        self.flush()
        self.assertEqual(len(self.hub.reports), before + 1, "no pause between two")
        self.flush(0.01)
        self.assertEqual((len(self.hub.reports), self.states), (before + 2, {"http-v1": "ready"}))

    def test_a_report_that_the_hub_could_not_take_is_sent_again(self) -> None:
        self.hub.busy = 1
        self.house.process.exit(1)
        self.flush(3)
        self.assertEqual(self.states, {"http-v1": "ready"})

    def test_a_refused_secret_ends_no_drone_that_was_accepted(self) -> None:
        self.hub.secret = Secret("another")
        self.hub.cut()
        self.flush(20)
        self.assertEqual((self.refused, len(self.house.keeper.running)), ([], 1))
        self.hub.secret = Secret("beepboop")
        self.flush(10)
        self.assertEqual(len(self.accepted), 2)


class StrangerTests(DroneTestCase):
    def test_a_refused_secret_ends_a_drone_that_no_hub_knows(self) -> None:
        self.hub.secret = Secret("another")
        self.run_drone()
        self.assertIsInstance(self.refused[0], SecretRefused)
        self.assertEqual(str(self.refused[0]), "localhost:6001: the secret is wrong")

    def test_so_does_a_name_in_use(self) -> None:
        self.hub.refusal = NameInUse("another drone is called d1")
        self.run_drone()
        self.assertIsInstance(self.refused[0], NameInUse)

    def test_a_hub_that_cannot_be_reached_is_waited_for(self) -> None:
        self.hub.up = False
        self.run_drone()
        self.flush(20)
        self.assertEqual((self.refused, self.accepted), ([], []))
        self.hub.up = True
        self.flush(10)
        self.assertEqual(len(self.accepted), 1)


class KnownDroneTests(DroneTestCase):
    known = True

    def test_a_refusal_ends_no_drone_that_a_hub_has_accepted_in_an_earlier_life(self) -> None:
        self.hub.refusal = NameInUse("another drone is called d1")
        self.run_drone()
        self.flush(10)
        self.assertEqual(self.refused, [])
        self.hub.refusal = None
        self.flush(10)
        self.assertEqual(len(self.accepted), 1)
