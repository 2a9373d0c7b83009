"""What answers a peer: responders that decode, make one call and encode (design rule 4).

Note [One wrapper for every responder]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
AMP closes the connection when a responder fails with an error that its Command does not declare. ``responder`` wraps
every one: ``Invalid`` (bad text from the model) is answered as UsageError, declared errors go through, and anything
else is logged with its traceback and answered as InternalError.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from deployd.errors import DeploydError, InternalError, UsageError
from deployd.model.invalid import Invalid

_log = Logger()

MAX_MESSAGE = 4000

Method = TypeVar("Method", bound=Callable[..., Any])
Answer = dict[str, Any] | Awaitable[dict[str, Any]]


class Conversation(amp.CommandLocator):
    """The responders of one session. The base class answers nothing."""

    def closed(self) -> None:
        """The connection is gone."""


def responder(command: type[amp.Command]) -> Callable[[Method], Method]:
    """Make a method answer ``command``; it takes the arguments by name and returns the answer's dict, or awaits it."""

    def decorate(method: Method) -> Method:
        def answer(self: Conversation, **arguments: Any) -> Deferred[dict[str, Any]]:
            return maybeDeferred(_started, method, self, arguments).addErrback(_answerable, command)

        command.responder(answer)
        return method

    return decorate


def _started(method: Callable[..., Any], self: Conversation, arguments: dict[str, Any]) -> Any:
    result = method(self, **arguments)
    return Deferred.fromCoroutine(result) if isinstance(result, Coroutine) else result


def _answerable(failure: Failure, command: type[amp.Command]) -> Failure:
    error = failure.value
    if isinstance(error, Invalid):
        raise UsageError(_cut(str(error)))
    if isinstance(error, DeploydError) and failure.check(*command.errors):
        raise type(error)(_cut(str(error)))
    _log.failure("while answering {command}", failure=failure, command=command.__name__)
    raise InternalError()


def _cut(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "..."
