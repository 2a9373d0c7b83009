"""The hub's site: git for everybody, and a few pages of its own."""

from __future__ import annotations

from twisted.web import http
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from deployd import __version__
from deployd.git.web.site import GitSite
from deployd.net.http import BoundedSite

RESERVED = (b"-", b"metrics")


class HubSite(BoundedSite, GitSite):
    """The git site with its connections bounded (deployd.net.http), the bodies being so already."""


class Page(Resource):
    """A text that stays the same."""

    isLeaf = True

    def __init__(self, text: str, code: int = http.OK) -> None:
        super().__init__()
        self._text = text.encode() + b"\n"
        self._code = code

    def render_GET(self, request: Request) -> bytes:
        request.setResponseCode(self._code)
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return self._text


class Root(Resource):
    """``/`` and ``/healthz``; names that no app can have are the hub's own; the rest is ``git``'s."""

    def __init__(self, git: IResource) -> None:
        super().__init__()
        self._git = git
        self._nothing = Page("there is nothing here yet", http.NOT_FOUND)
        self._pages = {
            b"": Page(
                f"This is a deployd hub (deployd {__version__}).\n"
                "git push http://THIS_HOST/APP BRANCH brings an app here; deployctl deploys it."
            ),
            b"healthz": Page("ok"),
        }

    def getChild(self, path: bytes, request: Request) -> IResource:
        if path in RESERVED:
            return self._nothing
        page = self._pages.get(path)
        # Not the empty first part of a path like //x.
        if page is not None and not request.postpath:
            return page
        return self._git


def git_url(addresses: dict[str, str]) -> str:
    """The base of the hub's git URLs; "" while nobody listens."""
    address = addresses.get("http", "")
    return f"{addresses.get('scheme', 'http')}://{address}" if address else ""
