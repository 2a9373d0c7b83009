"""The conversation of ``deployctl deploy`` with the hub."""

from __future__ import annotations

from collections.abc import Callable

from deployd.cli.cluster import MAX_PAGES, Cluster, Row
from deployd.cli.deployment import Deployment, Wanted
from deployd.errors import NoAnswer
from deployd.wire.control import Deploy, DeployStatus

# The hub decides this share of the time, and at most so many seconds, before deployctl's own deadline.
VERDICT_SHARE = 0.25
VERDICT_SECONDS = 2.0


class Deploying:
    """One deploy: ``work`` does it; ``begun`` is how it stands, None before the hub has taken it."""

    def __init__(self, wanted: Wanted, show: Callable[[Deployment], None], detach: bool) -> None:
        self._wanted = wanted
        self._show = show
        self._detach = detach
        self.begun: Deployment | None = None

    async def work(self, cluster: Cluster) -> Deployment:
        """Ask for the release and follow it to its end; raise DeploydError, NoAnswer at the deadline.

        Without a deadline of the person's own it is the hub's: that knows whether a build or a release command runs.
        """
        deployment = await self._ask(cluster)
        self.begun = deployment
        revision = None
        while True:
            status = await self._status(cluster, deployment)
            deployment = self.begun = deployment.seen(status, status["drones"])
            if deployment.changed and revision != status["revision"]:
                self._show(deployment)
            if deployment.over or self._detach:
                return deployment
            revision = status["revision"]
            if cluster.settings.timeout is None and status["left"]:
                cluster.extend(status["left"] + VERDICT_SECONDS)
            if not await cluster.change(status["revision"]):
                raise NoAnswer(f"{deployment.title} is still deploying; it goes on, deploy it again to watch")

    async def _ask(self, cluster: Cluster) -> Deployment:
        wanted = self._wanted
        app = wanted.app
        if app is None:
            assert wanted.tree is not None
            app = wanted.tree.app(await cluster.hub_fact("http"), await cluster.hub_host())
        asked = cluster.settings.timeout
        left = cluster.remaining()
        answer = await cluster.call(
            Deploy,
            app=app,
            commit=wanted.commit,
            drones=list(wanted.drones),
            where=list(wanted.where),
            need=wanted.need,
            timeout=0.0 if asked is None else left - min(VERDICT_SECONDS, left * VERDICT_SHARE),
        )
        return Deployment(app, answer["commit"], answer["release"], answer["changed"], need=wanted.need)

    async def _status(self, cluster: Cluster, deployment: Deployment) -> Row:
        """DeployStatus with the drones of all its pages."""
        drones: list[Row] = []
        after = ""
        for _ in range(MAX_PAGES):
            status = await cluster.call(DeployStatus, app=deployment.app, release=deployment.release, after=after)
            drones += status["drones"]
            after = status["next"]
            if not after:
                break
        return {**status, "drones": drones}
