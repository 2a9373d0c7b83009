"""Daemons have room for connections that come all at once."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from deployd.daemon.sockets import BACKLOG, MAX_FILES, raise_file_limit, with_backlog


class BacklogTests(SynchronousTestCase):
    def test_ports_queue_more_than_twisteds_fifty(self) -> None:
        self.assertEqual(with_backlog("tcp:6000"), f"tcp:6000:backlog={BACKLOG}")
        self.assertEqual(with_backlog("ssl:0:privateKey=k"), f"ssl:0:privateKey=k:backlog={BACKLOG}")

    def test_what_the_operator_wrote_stays(self) -> None:
        for endpoint in ("tcp:6000:backlog=5", "unix:/run/hub", "systemd:domain=INET:index=0"):
            self.assertEqual(with_backlog(endpoint), endpoint)


class FileLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))

    def test_it_is_raised_to_what_is_allowed(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        raise_file_limit()
        soft, still = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertEqual(still, hard)
        self.assertEqual(soft, min(hard, MAX_FILES) if hard != resource.RLIM_INFINITY else MAX_FILES)
