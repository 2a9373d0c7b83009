"""Where logs are."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.logs import log_name


class NameTests(SynchronousTestCase):
    def test_is_apart_for_every_app_release_and_commit(self) -> None:
        self.assertEqual(log_name("team/webapp", "v3", "c0ffee", "http-ab12"), "team+webapp/v3-c0ffee/http-ab12")
