"""What an app finds in its environment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.instance import AssignedInstance
from deployd.processes.environment import app_environment, bind_host, machine_addresses

COMMIT = "0123456789" * 4
INSTANCE = AssignedInstance("http-0123456789", "team/webapp", "v12", COMMIT, "http", ("./run",), True)
PLAIN = {"PATH", "HOME", "LANG", "TMPDIR"}
SAID = {
    "HOST", "COMMIT", "RELEASE", "REPO", "ROLE", "DRONE_ID", "PROCESS_ID",
    "DEPLOYD_REGISTRY", "DEPLOYD_REGISTRY_URL", "DEPLOYD_PEERS_URL",
}  # fmt: skip


def environment(port: int | None = 20001, config: dict[str, str] | None = None) -> dict[str, str]:
    return app_environment(
        INSTANCE,
        drone="d1",
        host="0.0.0.0",
        port=port,
        registry="10.0.0.1:6000",
        registry_url="http://10.0.0.1:6080/",
        checkout="/srv/checkout",
        config=config,
    )


class AppEnvironmentTests(SynchronousTestCase):
    def test_is_the_contract_and_nothing_else(self) -> None:
        self.assertEqual(set(environment()), SAID | PLAIN | {"PORT"})

    def test_says_who_the_process_is(self) -> None:
        env = environment()
        self.assertEqual(env["PORT"], "20001")
        self.assertEqual(env["REPO"], "team/webapp")
        self.assertEqual(env["RELEASE"], "v12")
        self.assertEqual(env["COMMIT"], COMMIT)
        self.assertEqual(env["ROLE"], "http")
        self.assertEqual(env["DRONE_ID"], "d1")
        self.assertEqual(env["PROCESS_ID"], "http-0123456789")
        self.assertEqual(env["DEPLOYD_REGISTRY"], "10.0.0.1:6000")
        self.assertEqual(env["DEPLOYD_REGISTRY_URL"], "http://10.0.0.1:6080")
        self.assertEqual(env["HOME"], "/srv/checkout")

    def test_peers_are_those_of_the_same_app_and_release(self) -> None:
        self.assertEqual(
            environment()["DEPLOYD_PEERS_URL"],
            f"http://10.0.0.1:6080/v1/ports/{COMMIT}?app=team/webapp&release=v12",
        )

    def test_a_role_without_a_port_has_none(self) -> None:
        """Not even one of the app's own config: nothing would ever route to it."""
        self.assertNotIn("PORT", environment(port=None))
        self.assertNotIn("PORT", environment(port=None, config={"PORT": "80"}))

    @given(st.dictionaries(st.sampled_from(sorted(SAID | PLAIN | {"PORT", "OWN"})), st.just("mine")))
    def test_config_adds_and_changes_what_is_plain_but_not_what_deployd_says(self, config: dict[str, str]) -> None:
        env, before = environment(config=config), environment()
        for name, value in env.items():
            mine = name in config and name not in SAID | {"PORT"}
            self.assertEqual(value, "mine" if mine else before[name])
        self.assertEqual(set(env), set(before) | ({"OWN"} & set(config)))


class BindHostTests(SynchronousTestCase):
    def test_is_the_advertised_address_if_it_is_of_this_machine(self) -> None:
        self.assertEqual(bind_host("10.1.2.3", {"10.1.2.3", "127.0.0.1"}), "10.1.2.3")

    def test_is_every_address_otherwise(self) -> None:
        """An address behind a translation, and a name, cannot be bound."""
        self.assertEqual(bind_host("203.0.113.9", {"10.1.2.3"}), "0.0.0.0")
        self.assertEqual(bind_host("d1.example.com", {"10.1.2.3"}), "0.0.0.0")

    def test_loopback_is_of_every_machine(self) -> None:
        self.assertEqual(bind_host("127.0.0.1", ()), "127.0.0.1")
        self.assertEqual(bind_host("127.5.5.5", ()), "127.5.5.5")

    def test_localhost_becomes_the_address_that_the_check_knocks_at(self) -> None:
        self.assertEqual(bind_host("localhost", ()), "127.0.0.1")

    def test_this_machine_has_a_loopback_address(self) -> None:
        self.assertIn("127.0.0.1", machine_addresses())
