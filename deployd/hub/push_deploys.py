"""Deploys that a push asks for, or that its app's policy does, and how their pusher hears of them."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from twisted.logger import Logger

from deployd.errors import Busy, DeploydError
from deployd.git.receiving.receipt import Receipt, RefUpdate
from deployd.git.web.pushing import Told
from deployd.git.web.voice import Voice
from deployd.hub import deploy_lines
from deployd.hub.deploys import Deploys, Request
from deployd.hub.news import LONGEST_WAIT, News
from deployd.model.branches import HEADS, TAGS, short_name
from deployd.model.invalid import Invalid
from deployd.model.policy import Policy
from deployd.model.push_options import PushOptions
from deployd.model.release import Release

PUSHER = "git push"


class PushDeploys:
    """A deploy is saved before its pusher hears anything, and goes on whether it hears the rest or not."""

    _log = Logger()

    def __init__(self, deploys: Deploys, news: News) -> None:
        self._deploys = deploys
        self._news = news

    async def deploy(self, app: str, update: RefUpdate, options: PushOptions, intent: str = "") -> Told:
        """Deploy what ``update`` brought. Raise nothing that the pusher could do something about."""
        assert update.new is not None
        # A tag may be an object of its own.
        commit = update.ref if update.ref.startswith(TAGS) else update.new
        asked = Request(app, commit, options.drones, options.where, options.need, options.timeout, intent)
        try:
            decided = await self._deploys.deploy(asked, PUSHER)
        except (DeploydError, Invalid) as error:
            return _told(f"not deployed: {deploy_lines.one_line(str(error))}", _done(update))
        except Exception:
            self._log.failure("Deploying what was pushed to {app} failed.", app=app)
            return _told("not deployed: the hub failed; its log says more", _done(update))
        release = decided.release
        if not decided.changed:
            return _told(f"{deploy_lines.title(release)} is deployed already")
        if options.detach:
            return _told(deploy_lines.watching(release))

        async def follow(voice: Voice) -> None:
            await self._follow(voice, release, update)

        return evolve(_told(f"deploying {deploy_lines.title(release)}; Ctrl-C only stops watching"), follow=follow)

    async def _follow(self, voice: Voice, release: Release, update: RefUpdate) -> None:
        """Tell of every change until the deploy is over or the pusher gone."""
        voice.left = lambda: self._news.leave(voice)
        told: dict[str, str] = {}
        while not voice.gone:
            # Before it is looked at: what changes meanwhile must not be missed.
            revision = self._news.revision
            standing = self._deploys.standing(release.app, release.name)
            for line in deploy_lines.news(told, standing.drones):
                voice.say(f"deployd: {line}")
            if standing.state != "deploying":
                for line in deploy_lines.ending(release, standing):
                    voice.say(line if line.startswith("  |") else f"deployd: {line}")
                if standing.state != "deployed":
                    voice.say(f"deployd: {_done(update)}")
                return
            try:
                await self._news.wait(revision, LONGEST_WAIT, voice)
            except Busy:
                voice.say(f"deployd: {deploy_lines.watching(release)}")
                return


def target(policy: Policy, receipt: Receipt) -> tuple[RefUpdate | None, Sequence[str]]:
    """What of a push is to be deployed, and what to say where something else than that might be expected."""
    arrived = {update.ref: update for update in receipt.updates if update.new is not None}
    if receipt.target:
        if receipt.target in arrived:
            return arrived[receipt.target], ()
        return None, (f"deployd: not deployed: {short_name(receipt.target)!a} was not taken",)
    if receipt.options.skip and policy.deploy_branch and HEADS + policy.deploy_branch in arrived:
        return None, (f"deployd: not deployed, though {policy.deploy_branch} is the app's deploy-branch: -o no-deploy",)
    return None, ()


def _told(*lines: str) -> Told:
    return Told([f"deployd: {line}" for line in lines])


def _done(update: RefUpdate) -> str:
    name = short_name(update.ref)
    return f"the push itself is done: {name if name.isprintable() else ascii(name)} is at {(update.new or '')[:7]}"
