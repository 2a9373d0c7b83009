"""What a drone has to do next: the difference between its assignment and what it has, as steps.

Note [An unknown hub stops nothing]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A hub that was restored or replaced has a new epoch and may not know what it once deployed. So what an assignment leaves
out is stopped only when a hub of the same epoch had assigned it before; everything else is an orphan: it goes on as it
was told last, is reported, and ends when the hub says so explicitly.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import evolve, frozen

from deployd.model.instance import AssignedInstance, Goal, State


@frozen(order=True)
class CheckoutKey:
    """One checkout: releases do not share any, and a restored hub may number another commit the same."""

    app: str
    release: str
    commit: str

    @classmethod
    def of(cls, line: AssignedInstance) -> CheckoutKey:
        return cls(line.app, line.release, line.commit)


@frozen
class Known:
    """One instance that the drone has.

    ``line`` is as last assigned, by a hub of ``epoch``; ``doing`` is what it was told last in this life of the drone
    (None: nothing yet); ``orphan`` says whether it is reported as one.
    """

    line: AssignedInstance
    epoch: str
    doing: Goal | None
    state: State
    orphan: bool = False


@frozen
class Adopt:
    """The hub knows this orphan after all; its line is this."""

    line: AssignedInstance


@frozen
class Start:
    line: AssignedInstance


@frozen
class Restart:
    """Running, but as something older: end it and start it as ``line`` says."""

    line: AssignedInstance


@frozen
class Drain:
    line: AssignedInstance


@frozen
class Stop:
    line: AssignedInstance


@frozen
class Orphan:
    id: str


@frozen
class Forget:
    """Stopped and wanted by nobody: nothing of it needs to be kept."""

    id: str


@frozen
class RemoveCheckout:
    key: CheckoutKey


Step = Adopt | Start | Restart | Drain | Stop | Orphan | Forget | RemoveCheckout


def steps(
    epoch: str,
    lines: Collection[AssignedInstance] | None,
    known: Collection[Known],
    checkouts: Collection[CheckoutKey] = (),
) -> tuple[Step, ...]:
    """The steps that lead from ``known`` to the assignment ``lines`` of the hub of ``epoch``, by instance id.

    ``lines`` is None while that hub has assigned nothing yet. ``checkouts`` are those on disk. A settled state gives no
    steps; while something still ends or starts there may be more later (Stop first, Forget once it has stopped).
    """
    wanted = {line.id: line for line in lines or ()}
    had = {each.line.id: each for each in known}
    result: list[Step] = []
    for id in sorted(wanted.keys() | had.keys()):
        if id not in had:
            result.append(_first(wanted[id]))
        elif id in wanted:
            result.extend(_assigned(epoch, wanted[id], had[id]))
        else:
            result.extend(_unassigned(epoch, lines is not None, had[id]))
    forgotten = {step.id for step in result if isinstance(step, Forget)}
    needed = {CheckoutKey.of(line) for line in wanted.values()}
    needed |= {CheckoutKey.of(each.line) for each in known if each.line.id not in forgotten}
    result.extend(RemoveCheckout(key) for key in sorted(set(checkouts) - needed))
    return tuple(result)


def _first(line: AssignedInstance) -> Step:
    """What an instance is told that is new here, or new in this life of the drone."""
    if line.goal is Goal.RUN:
        return Start(line)
    return Drain(line) if line.goal is Goal.DRAIN else Stop(line)


def _assigned(epoch: str, line: AssignedInstance, had: Known) -> list[Step]:
    adopted: list[Step] = [Adopt(line)] if had.orphan or had.epoch != epoch else []
    if had.doing is None:
        return [*adopted, _first(line)]
    if line.goal is Goal.RUN:
        # What is stopping starts as the line says anyway; what was drained still runs.
        if had.doing is not Goal.STOP and outdated(had.line, line):
            return [*adopted, Restart(line)]
        return adopted if had.doing is Goal.RUN else [*adopted, Start(line)]
    if line.goal is had.doing or had.doing is Goal.STOP:
        return adopted
    return [*adopted, _first(line)]


def _unassigned(epoch: str, assigned: bool, had: Known) -> list[Step]:
    """Steps for an instance without a line; ``assigned``: the hub has said what it wants."""
    strange = had.epoch != epoch
    if had.state is State.STOPPED and had.doing in (Goal.DRAIN, Goal.STOP) and (strange or assigned):
        return [Forget(had.line.id)]
    if strange or not assigned:
        marked: list[Step] = [Orphan(had.line.id)] if strange and not had.orphan else []
        return [*marked, *([_first(had.line)] if had.doing is None else [])]
    return [] if had.doing is Goal.STOP else [Stop(had.line)]


def outdated(running: AssignedInstance, line: AssignedInstance) -> bool:
    """Whether a process that was started as ``running`` should not run as ``line``; a goal is no difference."""
    return evolve(running, goal=line.goal) != line
