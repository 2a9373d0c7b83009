"""One look at the machine for everybody who wants one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any

from twisted.internet.defer import Deferred

from deployd.processes import trees
from deployd.processes.forest import Forest, ProcessRef

ToThread = Callable[..., Deferred[Any]]
"""``to_thread(function, *arguments)`` runs a blocking function elsewhere: ``deferToThread`` bound to a pool."""

Session = ProcessRef | int | None


class Look:
    """The processes of the machine, looked for when somebody asks for them first."""

    def __init__(self, spared: Collection[int]) -> None:
        self._spared = spared

    @cached_property
    def forest(self) -> Forest:
        return Forest.now(self._spared)


Question = Callable[[Look], Any]


class Census:
    """Answers together, from one look, all who asked while the last one went on: hundreds of instances that stop in
    the same moment cost a few looks, not hundreds. An answer is never older than its question.

    ``spared`` gives the processes that are nobody's, whatever mark they bear: the keeper.
    """

    def __init__(self, to_thread: ToThread, spared: Callable[[], Collection[int]] = tuple) -> None:
        self._to_thread = to_thread
        self._spared = spared
        self._waiting: list[tuple[Question, Deferred[Any]]] = []
        self._looking = False

    def find(self, instance: str, session: Session) -> Deferred[frozenset[ProcessRef]]:
        return self._ask(lambda look: look.forest.of(instance, session))

    def alive(self, refs: Collection[ProcessRef]) -> Deferred[frozenset[ProcessRef]]:
        return self._ask(lambda _: trees.alive(refs))

    def signal(self, instance: str, session: Session, signum: int) -> Deferred[frozenset[ProcessRef]]:
        """Find and signal; fires with what was found."""

        def found_and_signalled(look: Look) -> frozenset[ProcessRef]:
            found = look.forest.of(instance, session)
            trees.signal_all(found, signum)
            return found

        return self._ask(found_and_signalled)

    def quell(self, instance: str, session: Session) -> Deferred[None]:
        """``trees.quell``, which looks for itself."""
        done: Deferred[None] = self._to_thread(trees.quell, instance, session, self._spared())
        return done

    def _ask(self, question: Question) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self._waiting.append((question, answer))
        if not self._looking:
            self._look()
        return answer

    def _look(self) -> None:
        asked, self._waiting = self._waiting, []
        self._looking = True
        answering = self._to_thread(_answers, [question for question, _ in asked], self._spared())
        answering.addErrback(lambda failure: [failure] * len(asked))
        answering.addCallback(self._answered, asked)

    def _answered(self, answers: list[Any], asked: list[tuple[Question, Deferred[Any]]]) -> None:
        self._looking = False
        if self._waiting:
            self._look()
        for (_, waiter), answer in zip(asked, answers, strict=True):
            waiter.callback(answer)


def _answers(questions: Collection[Question], spared: Collection[int]) -> list[Any]:
    look = Look(spared)
    return [question(look) for question in questions]
