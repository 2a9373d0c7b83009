"""Who may do what with a repository: whoever knows the secret everything, a drone's token reading one app."""

from __future__ import annotations

from deployd.git.access import Action
from deployd.hub.tokens import Tokens
from deployd.net.secret import Secret

TOKEN_USER = b"drone"


class GitAccess:
    """Any user name goes with the secret; a token goes with ``drone`` only. Without a secret everything is allowed."""

    def __init__(self, secret: Secret | None, tokens: Tokens) -> None:
        self._secret = secret
        self._tokens = tokens

    def permits(self, user: bytes, password: bytes, app: str, action: Action) -> bool:
        if self._secret is None or self._secret.matches(password):
            return True
        return user == TOKEN_USER and action is not Action.WRITE and self._tokens.opens(password, app)
