"""A deploy as values and as text."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.deployment import Deployment, Wanted
from deployd.cli.progress import Lines
from deployd.cli.work_tree import WorkTree
from deployd.errors import UsageError
from deployd.model.invalid import Invalid
from tests.cli.scripted_hub import COMMIT, drone

DEPLOYED = Deployment("webapp", COMMIT, "v1", state="deployed", drones=(drone("d1", "ready"),))


class WantedTests(SynchronousTestCase):
    def test_takes_the_commit_of_the_work_tree_where_none_is_named(self) -> None:
        wish = Wanted.parse(None, None, (), (), "all", WorkTree((), COMMIT))
        self.assertEqual((wish.app, wish.commit), (None, COMMIT))

    def test_refuses_a_work_tree_without_a_commit(self) -> None:
        with self.assertRaises(UsageError):
            Wanted.parse("webapp", None, (), (), "all", WorkTree((), ""))

    def test_refuses_what_no_hub_would_take(self) -> None:
        for app, drones, where, need in (
            ("../x", (), (), "all"),
            ("webapp", ("a b",), (), "all"),
            ("webapp", (), ("region",), "all"),
            ("webapp", (), (), "some"),
        ):
            with self.assertRaises(Invalid):
                Wanted.parse(app, "master", drones, where, need, None)


class DeploymentTests(SynchronousTestCase):
    def test_the_document_has_what_scripts_read(self) -> None:
        self.assertEqual(
            DEPLOYED.document(),
            {
                "app": "webapp",
                "commit": COMMIT,
                "release": "v1",
                "changed": True,
                "state": "deployed",
                "reason": "",
                "need": "all",
                "drones": [drone("d1", "ready")],
            },
        )

    def test_the_verdict_counts_drones_and_names_those_that_wait(self) -> None:
        self.assertEqual(DEPLOYED.verdict(), "webapp v1 (74336bc) is deployed: 1 of 1 drone ready")
        partly = evolve(DEPLOYED, drones=(drone("d1", "ready"), drone("d2", "away"), drone("d3", "nothing")))
        self.assertEqual(partly.verdict(), "webapp v1 (74336bc) is deployed: 2 of 3 drones ready\nd2: away")

    def test_the_complaint_gives_per_drone_the_reason_and_the_last_lines(self) -> None:
        failed = evolve(
            DEPLOYED,
            state="failed",
            reason="1 of 2 drones ready, all needed",
            drones=(drone("d1", "ready"), drone("d2", "failed", "ended with code 1", "Traceback\nboom\n")),
        )
        self.assertEqual(
            failed.complaint().splitlines(),
            [
                "deployctl: webapp v1 (74336bc) failed: 1 of 2 drones ready, all needed",
                "d2: failed: ended with code 1",
                "  | Traceback",
                "  | boom",
            ],
        )

    def test_a_release_retired_meanwhile_is_no_success(self) -> None:
        self.assertTrue(evolve(DEPLOYED, state="retiring").failed)
        self.assertIn("taken down", evolve(DEPLOYED, state="retiring").complaint())


class LinesTests(SynchronousTestCase):
    def test_one_line_a_change(self) -> None:
        written: list[str] = []
        lines = Lines(written.append)
        begun = evolve(DEPLOYED, state="deploying", drones=(drone("d1", "pending"), drone("d2", "pending")))
        lines(begun)
        lines(evolve(begun, drones=(drone("d1", "ready"), drone("d2", "pending"))))
        self.assertEqual(written, ["deploying webapp v1 (74336bc)", "d1: pending", "d2: pending", "d1: ready"])
