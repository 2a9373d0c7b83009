"""A hub that is killed between a push's refs and its deploy goes on with it, once."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.git.receiving.receipt import Receipt, RefUpdate
from deployd.model.instance import State
from deployd.model.push_options import PushOptions
from tests.hub.asking import done
from tests.hub.rig import Cluster

MASTER = "refs/heads/master"


class IntentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.drone("d1")

    def push(self, *words: str, ref: str = MASTER) -> Receipt:
        """The refs have moved, and the hub has not heard of it."""
        commit = self.cluster.push(files={"Procfile": b"http: serve"}, ref=ref, intent="1a", options=words)
        return Receipt(b"", [RefUpdate(ref, None, commit)], True, PushOptions.parse(words), ref, "1a")

    def hear(self, receipt: Receipt) -> None:
        done(Deferred.fromCoroutine(self.cluster.hub.pushes.pushed("webapp", receipt)), self.cluster.settle)

    def restart(self) -> None:
        self.cluster.restart()
        for drone in self.cluster.drones:
            drone.join()
        self.cluster.settle()

    def deploys(self) -> int:
        return self.cluster.events().count("deploy")

    def left(self) -> int:
        return len(self.cluster.repositories.intents("webapp"))

    def test_killed_before_it_heard_of_the_push(self) -> None:
        self.push("deploy.need=1", "deploy.timeout=30")
        self.restart()
        self.assertEqual((self.cluster.releases(), self.deploys(), self.left()), ({"v1": "deployed"}, 1, 0))
        release = self.cluster.hub.ledger.desired.releases["webapp", 1]
        self.assertEqual((release.need.text, release.timeout), ("1", 30.0))

    def test_killed_after_the_save(self) -> None:
        receipt = self.push("deploy")
        self.cluster.repositories.stuck = True
        self.hear(receipt)
        self.flushLoggedErrors(OSError)
        self.assertEqual((self.deploys(), self.left()), (1, 1))
        self.cluster.repositories.stuck = False
        self.cluster.drones[0].trouble["http"] = {"state": State.STARTING}
        self.restart()
        self.assertEqual((self.deploys(), self.left()), (1, 0))

    def test_killed_after_all(self) -> None:
        self.hear(self.push("deploy"))
        self.assertEqual((self.deploys(), self.left()), (1, 0))
        self.restart()
        self.assertEqual((self.cluster.releases(), self.deploys()), ({"v1": "deployed"}, 1))

    def test_what_was_refused_is_not_tried_again(self) -> None:
        self.hear(self.push("deploy.drone=nosuch"))
        self.assertEqual(self.left(), 0)
        self.push("deploy.drone=nosuch")
        self.restart()
        self.assertEqual((self.cluster.releases(), self.left()), ({}, 0))

    def test_a_hub_that_is_stopping_leaves_it_to_its_next_start(self) -> None:
        receipt = self.push("deploy")
        done(Deferred.fromCoroutine(self.cluster.hub.close()), self.cluster.settle)
        with self.assertRaises(Refused):
            self.hear(receipt)
        self.restart()
        self.assertEqual((self.cluster.releases(), self.left()), ({"v1": "deployed"}, 0))

    def test_of_a_push_whose_worker_was_killed_it_goes_on_at_once(self) -> None:
        self.push("deploy")
        cutting = self.cluster.hub.pushes.cut_off("webapp", "1a")
        done(Deferred.fromCoroutine(cutting), self.cluster.settle)
        self.assertEqual((self.cluster.releases(), self.left()), ({"v1": "deployed"}, 0))
        cutting = self.cluster.hub.pushes.cut_off("nosuch", "2b")
        self.assertIsNone(done(Deferred.fromCoroutine(cutting), self.cluster.settle))
