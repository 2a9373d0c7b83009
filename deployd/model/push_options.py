"""What a pusher asks for beside the push itself: ``git push -o OPTION``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from deployd.model.branches import HEADS, TAGS, short_name
from deployd.model.invalid import Invalid
from deployd.model.names import drone_name, label, shown
from deployd.model.release import Need

MAX_SECONDS = 1e7
_WORDS = (
    "deploy",
    "no-deploy",
    "deploy.detach",
    "deploy.drone=NAME",
    "deploy.where=K=V",
    "deploy.need=all|N|P%",
    "deploy.timeout=SECONDS",
)


@frozen
class PushOptions:
    """``deploy``: what is pushed; ``skip``: not even what the app's policy says.

    The rest is as ``deployctl deploy`` has it; ``timeout`` 0 is the usual one, and patience.
    """

    deploy: bool = False
    skip: bool = False
    detach: bool = False
    drones: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    need: str = "all"
    timeout: float = 0.0

    @classmethod
    def parse(cls, words: Sequence[str]) -> PushOptions:
        """Raise Invalid with a sentence for the first of ``words`` that is wrong. ``deploy.X`` means ``deploy`` too."""
        options = cls()
        for word in words:
            options = options._plus(word)
        if options.deploy and options.skip:
            raise Invalid("the push options deploy and no-deploy contradict each other")
        return options

    def _plus(self, word: str) -> PushOptions:
        key, equals, value = word.partition("=")
        if word == "no-deploy":
            return evolve(self, skip=True)
        if word == "deploy":
            return evolve(self, deploy=True)
        if word == "deploy.detach":
            return evolve(self, deploy=True, detach=True)
        if key == "deploy.drone" and equals:
            return evolve(self, deploy=True, drones=(*self.drones, drone_name(value)))
        if key == "deploy.where" and equals:
            label(value)
            return evolve(self, deploy=True, where=(*self.where, value))
        if key == "deploy.need" and equals:
            return evolve(self, deploy=True, need=Need.parse(value).text)
        if key == "deploy.timeout" and equals:
            return evolve(self, deploy=True, timeout=_seconds(value))
        raise Invalid(f"there is no push option {shown(word)}; there are {', '.join(_WORDS)}")

    def target(self, arriving: Mapping[str, str], deploy_branch: str = "") -> str:
        """The ref that is to be deployed, of what a push brings (ref -> new id); "" when none is.

        That is for ``deploy`` its one branch, else its one tag, and otherwise the app's ``deploy_branch``, unless
        ``skip`` says no. Raise Invalid when there is not one for ``deploy``: nobody could tell which is meant.
        """
        if not self.deploy:
            ref = HEADS + deploy_branch
            return ref if deploy_branch and ref in arriving and not self.skip else ""
        for kind, prefix in (("branches", HEADS), ("tags", TAGS)):
            refs = [ref for ref in arriving if ref.startswith(prefix)]
            if len({arriving[ref] for ref in refs}) > 1:
                names = ", ".join(shown(short_name(ref)) for ref in refs[:3]) + (", ..." if len(refs) > 3 else "")
                raise Invalid(f"one branch can be deployed, this push has {len(refs)} {kind}: {names}; push one alone")
            if refs:
                return refs[0]
        raise Invalid("there is nothing to deploy: the push brings no branch and no tag")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < MAX_SECONDS:
        raise Invalid(f"deploy.timeout={shown(text)} is not a number of seconds above 0")
    return seconds
