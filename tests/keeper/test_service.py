"""What the keeper holds, decided on processes that are none."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.keeper import service
from deployd.keeper.service import GOODBYE, IDLE, LAST_WORDS
from deployd.model.role import Limits
from deployd.processes.marks import mark
from deployd.wire.keeping import MAX_REMARK
from tests.keeper.house import FIRST_PID, KeeperHouse, descriptors, launch


def _is_socket(name: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}").startswith("socket:")  # noqa: PTH115
    except FileNotFoundError:
        return False


class KeeperCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = KeeperHouse()
        self.keeper = self.house.keeper
        self.spawner = self.house.spawner

    def refused(self, *arguments: object, **changes: object) -> str:
        return str(self.assertRaises(Refused, self.keeper.start, launch(*arguments, **changes)))


class StartTests(KeeperCase):
    def test_a_process_starts_with_what_it_was_launched_with_and_its_mark(self) -> None:
        held = self.keeper.start(launch())
        ((program, _),) = self.spawner.started
        self.assertEqual((program.argv, program.env, program.cwd), (("web", "--fast"), {"PATH": "/bin"}, "/srv"))
        self.assertEqual(program.mark, mark("http-1"))
        self.assertEqual((held.id, held.pid, held.started, held.ended), ("http-1", FIRST_PID, 1e9, 0.0))

    def test_its_output_goes_to_pipes_that_the_relay_watches(self) -> None:
        self.keeper.start(launch())
        (fds,) = self.spawner.open_fds
        self.assertEqual(fds[0], "/dev/null")
        self.assertTrue(fds[1].startswith("pipe:") and fds[2].startswith("pipe:") and fds[1] != fds[2])
        self.assertEqual(sorted(self.house.relay.pipes[0].values()), [1, 2])
        self.assertEqual(self.house.relay.said, [("app/v1-abc/http-1", f"started, pid {FIRST_PID}")])

    def test_without_a_log_its_output_goes_nowhere(self) -> None:
        self.keeper.start(launch(log=""))
        self.assertEqual(set(self.spawner.open_fds[0].values()), {"/dev/null"})
        self.assertEqual(self.house.relay.pipes, [{}])

    def test_attached_descriptors_are_its_own_and_stay_the_callers(self) -> None:
        ours, theirs = os.pipe()
        self.keeper.start(launch(), (ours, theirs, theirs))
        self.assertEqual(self.spawner.started[0][0].fds, (ours, theirs, theirs))
        os.close(ours)
        os.close(theirs)

    def test_what_runs_is_not_started_twice(self) -> None:
        self.keeper.start(launch())
        self.assertEqual(self.refused(), f"http-1 still runs (pid {FIRST_PID})")
        self.assertEqual(len(self.spawner.started), 1)

    def test_what_has_ended_is_forgotten_by_its_next_start(self) -> None:
        self.keeper.start(launch())
        self.spawner.end(code=1)
        held = self.keeper.start(launch())
        self.assertEqual((held.pid, held.ended, held.code), (FIRST_PID + 1, 0.0, None))
        self.assertEqual(len(list(self.keeper)), 1)

    def test_a_start_that_fails_leaves_nothing(self) -> None:
        before = descriptors()
        self.spawner.refuse = "web cannot be started: no such file"
        self.assertEqual(self.refused(), "web cannot be started: no such file")
        self.assertEqual(list(self.keeper), [])
        self.assertEqual(descriptors(), before)
        self.assertEqual(self.house.relay.said, [])

    def test_an_order_that_comes_too_late_is_refused(self) -> None:
        self.house.clock.advance(10)
        self.assertEqual(self.refused(by=9.0), "http-1 was to be started earlier")
        self.keeper.start(launch(by=10.5))

    def test_a_log_is_a_directory_below(self) -> None:
        for log in ("../x", "/etc", "a//b", "a/../../b", "a\0", "."):
            self.assertIn("is no name of a log", self.refused(log=log), log)

    def test_limits_stand_before_the_command(self) -> None:
        self.keeper.start(launch(limits=Limits(files=20)))
        argv = self.spawner.started[0][0].argv
        self.assertEqual(argv[1:], ("--nofile=20", "--", "web", "--fast"))

    def test_what_is_held_is_bounded(self) -> None:
        self.patch(service, "MAX_HELD", 2)
        self.keeper.start(launch("a"))
        self.keeper.start(launch("b"))
        self.assertIn("takes no more", self.refused("c"))


class EndTests(KeeperCase):
    def test_an_end_is_told_after_the_last_words(self) -> None:
        self.keeper.start(launch())
        self.house.relay.slow = True
        self.spawner.end(code=3)
        self.house.wait()
        self.assertEqual(self.house.told, [])
        self.house.relay.waiting.pop()()
        self.house.wait()
        self.assertEqual([(held.id, held.code, held.signal) for held in self.house.told], [("http-1", 3, None)])
        self.assertEqual(self.house.relay.said[-1], ("app/v1-abc/http-1", "exited with code 3"))

    def test_an_end_does_not_wait_for_a_slow_disk_and_is_told_once(self) -> None:
        self.keeper.start(launch())
        self.house.relay.slow = True
        self.spawner.end(signal=9)
        self.house.wait(LAST_WORDS)
        self.assertEqual([(held.code, held.signal) for held in self.house.told], [(None, 9)])
        self.house.relay.waiting.pop()()
        self.house.wait(1)
        self.assertEqual(len(self.house.told), 1)
        self.assertEqual(self.house.relay.said[-1][1], "was ended by SIGKILL")

    def test_it_is_held_until_it_is_forgotten(self) -> None:
        self.keeper.start(launch())
        self.keeper.forget("http-1")
        self.keeper.forget("unknown")
        self.assertEqual(len(list(self.keeper)), 1, "one that runs is not forgotten")
        self.spawner.end()
        self.assertEqual([held.code for held in self.keeper], [0])
        self.keeper.forget("http-1")
        self.assertEqual(list(self.keeper), [])

    def test_all_that_is_held_is_listed_in_pages(self) -> None:
        for id in ("b", "c", "a"):
            self.keeper.start(launch(id))
        first, following = self.keeper.held("", 2)
        last, end = self.keeper.held(following, 2)
        self.assertEqual([held.id for held in first + last], ["a", "b", "c"])
        self.assertEqual((following, end), ("b", ""))


class RemarkTests(KeeperCase):
    def test_a_remark_is_one_line_of_bounded_length(self) -> None:
        self.keeper.remark("web/v1/a", "two\nlines " + "x" * 2 * MAX_REMARK)
        ((log, words),) = self.house.relay.said
        self.assertEqual((log, words[:11], len(words)), ("web/v1/a", "two lines x", MAX_REMARK))

    def test_a_remark_for_what_is_no_log_is_refused(self) -> None:
        for log in ("../web", "/etc", "web//a"):
            self.assertRaises(Refused, self.keeper.remark, log, "ended")
        self.assertEqual(self.house.relay.said, [])


class SocketTests(KeeperCase):
    def setUp(self) -> None:
        super().setUp()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.sockets = [name for name in descriptors() if _is_socket(name)]

    @property
    def opened(self) -> int:
        return sum(_is_socket(name) for name in descriptors()) - len(self.sockets)

    def test_a_socket_is_kept_from_one_process_to_the_next(self) -> None:
        self.assertTrue(self.keeper.start(launch(listen=self.address)).socket)
        self.spawner.end()
        self.keeper.start(launch(listen=self.address))
        first, second = (fds[3] for fds in self.spawner.open_fds)
        self.assertEqual(first, second)
        self.assertTrue(first.startswith("socket:"))
        self.keeper.unlisten("http-1")
        self.assertEqual(self.opened, 0)

    def test_one_that_an_app_has_shut_down_is_opened_anew(self) -> None:
        self.keeper.start(launch(listen=self.address))
        host, _, port = self.address.rpartition(":")
        theirs = socket.socket(fileno=os.dup(self.spawner.started[0][0].fds[3]))
        theirs.shutdown(socket.SHUT_RDWR)
        theirs.close()
        self.spawner.end()
        self.keeper.start(launch(listen=self.address))
        socket.create_connection((host, int(port)), timeout=5).close()
        self.keeper.unlisten("http-1")

    def test_nothing_listens_for_what_could_not_be_started(self) -> None:
        self.spawner.refuse = "web cannot be started: no such file"
        self.refused(listen=self.address)
        self.assertEqual(self.opened, 0)

    def test_a_start_that_fails_leaves_the_socket_of_the_process_before(self) -> None:
        self.keeper.start(launch(listen=self.address))
        self.spawner.end(code=1)
        self.spawner.refuse = "web cannot be started: no such file"
        self.refused(listen=self.address)
        self.assertEqual(self.opened, 1)
        self.keeper.unlisten("http-1")

    def test_what_is_forgotten_has_no_socket(self) -> None:
        self.keeper.start(launch(listen=self.address))
        self.spawner.end()
        self.keeper.forget("http-1")
        self.assertEqual(self.opened, 0)


class QuitTests(KeeperCase):
    def test_it_does_not_quit_while_something_runs(self) -> None:
        self.keeper.start(launch())
        self.assertRaises(Refused, self.keeper.quit)
        self.spawner.end()
        self.keeper.quit()
        self.house.wait(GOODBYE)
        self.assertEqual(self.house.finished, 1)

    def test_one_that_could_not_quit_ends_itself_later_unless_a_drone_comes(self) -> None:
        for visits, finished in ((True, 0), (False, 1)):
            self.keeper.start(launch())
            self.assertRaises(Refused, self.keeper.quit)
            self.house.wait(2 * IDLE)
            self.assertEqual(self.house.finished, 0)
            self.keeper.visited(visits)
            self.keeper.visited(False)
            self.spawner.end()
            self.house.wait(IDLE)
            self.assertEqual(self.house.finished, finished)

    def test_one_that_holds_nothing_and_is_not_visited_ends_itself(self) -> None:
        self.house.wait(IDLE - 1)
        self.assertEqual(self.house.finished, 0)
        self.house.wait(1)
        self.assertEqual(self.house.finished, 1)

    def test_a_drone_keeps_it_and_so_does_what_nobody_has_heard_of(self) -> None:
        self.keeper.visited(True)
        self.house.wait(IDLE + 1)
        self.keeper.start(launch())
        self.keeper.visited(False)
        self.spawner.end(code=2)
        self.house.wait(10 * IDLE)
        self.assertEqual(self.house.finished, 0)
        self.keeper.forget("http-1")
        self.house.wait(IDLE)
        self.assertEqual(self.house.finished, 1)
