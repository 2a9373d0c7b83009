"""Deploys that pushes asked for and of which nobody knows whether they were saved: each goes on once, or not at all."""

from __future__ import annotations

from attrs import evolve
from twisted.logger import Logger

from deployd.git.receiving.receipt import RefUpdate
from deployd.hub.ledger import Ledger
from deployd.hub.push_deploys import PushDeploys
from deployd.interfaces import InThread, Repositories
from deployd.model.intent import Intent
from deployd.model.push_options import PushOptions


class Intents:
    """What workers left for the hub (Note [Refs, then the deploy] in deployd.git.intents). Nothing here raises."""

    _log = Logger()

    def __init__(self, ledger: Ledger, deploys: PushDeploys, repositories: Repositories, in_thread: InThread) -> None:
        self._ledger = ledger
        self._deploys = deploys
        self._repositories = repositories
        self._in_thread = in_thread

    async def go_on(self, app: str, id: str = "*") -> None:
        """Save the deploys that pushes to ``app`` asked for before something was killed; or that of one push."""
        try:
            for intent in await self._in_thread(self._repositories.intents, app, id):
                if not self._is_saved(app, intent):
                    await self._deploy(app, intent)
                await self.forget(app, intent.id)
        except Exception:
            self._log.failure("What pushes to {app} asked for is left to the next start of the hub.", app=app)

    async def forget(self, app: str, id: str) -> None:
        """What the intent was for is saved, or refused; but for a hub that is stopping, whose next start sees to it."""
        if not id or self._ledger.closed:
            return
        try:
            await self._in_thread(self._repositories.forget, app, id)
        except Exception:
            self._log.failure("The intent of a push to {app} stays, though it was carried out.", app=app)

    def _is_saved(self, app: str, intent: Intent) -> bool:
        return any(release.intent == intent.id for release in self._ledger.desired.releases_of(app))

    async def _deploy(self, app: str, intent: Intent) -> None:
        update = RefUpdate(intent.ref, intent.old, intent.new)
        # Nobody watches any more.
        options = evolve(PushOptions.parse(intent.options), detach=True)
        told = await self._deploys.deploy(app, update, options, intent.id)
        self._log.warn("Going on with a push to {app} that was cut off: {line}", app=app, line="; ".join(told.lines))
