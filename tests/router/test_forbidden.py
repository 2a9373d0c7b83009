"""deployd's own ports, which no row may name."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.router.forbidden import forbidden

HERE = frozenset({"10.0.0.1", "127.0.0.1"})


class ForbiddenTests(SynchronousTestCase):
    def test_own_ports_are_forbidden_at_every_address_of_the_machine(self) -> None:
        found = forbidden([8080], [], HERE)
        self.assertEqual(found, {(host, 8080) for host in ("10.0.0.1", "127.0.0.1", "::1", "localhost")})

    def test_those_of_others_at_theirs_alone(self) -> None:
        self.assertEqual(
            forbidden([], ["10.0.0.9:6001", "[fd00::9]:6002"], HERE), {("10.0.0.9", 6001), ("fd00::9", 6002)}
        )

    def test_those_of_a_neighbour_on_this_machine_at_every_address(self) -> None:
        for text in ("127.0.0.1:6001", "10.0.0.1:6001", "localhost:6001"):
            self.assertIn(("10.0.0.1", 6001), forbidden([], [text], HERE))
            self.assertIn(("127.0.0.1", 6001), forbidden([], [text], HERE))

    def test_several_registries_are_each_forbidden(self) -> None:
        self.assertEqual(forbidden([], ["r1:6000,r2:6000"], HERE), {("r1", 6000), ("r2", 6000)})

    def test_a_url_counts_and_what_is_no_address_does_not(self) -> None:
        self.assertEqual(forbidden([], ["https://hub.example:6002", "unix:/run/x", ""], HERE), {("hub.example", 6002)})
