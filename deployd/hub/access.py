"""Who may do what with a repository: whoever knows the secret everything, a drone's token reading one app.

Note [Public is for who says nothing]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A public app is read without credentials. Wrong ones are refused there too, and as slowly: else a public app would be a
place to try secrets at full speed. git offers none before it is asked.
"""

from __future__ import annotations

from collections.abc import Callable

from deployd.git.access import Action
from deployd.hub.tokens import Tokens
from deployd.net.secret import Secret

TOKEN_USER = b"drone"


class GitAccess:
    """Any user name goes with the secret; a token goes with ``drone`` only. Without a secret everything is allowed.

    ``is_public`` is asked of apps that need not exist: of one that does not, it must say no.
    """

    def __init__(self, secret: Secret | None, tokens: Tokens, is_public: Callable[[str], bool]) -> None:
        self._secret = secret
        self._tokens = tokens
        self._is_public = is_public

    def permits(self, user: bytes, password: bytes, app: str, action: Action) -> bool:
        if self._secret is None or self._secret.matches(password):
            return True
        if not password:
            return action is Action.READ and self._is_public(app)
        return user == TOKEN_USER and action is not Action.WRITE and self._tokens.opens(password, app)
