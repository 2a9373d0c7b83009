"""The hub's own pages beside git."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource, getChildForRequest
from twisted.web.test.requesthelper import DummyRequest

from deployd.hub.web import Root, git_url


class RootTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.git = Resource()
        self.git.isLeaf = True
        self.root = Root(self.git)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; (0, b"git") where git answers."""
        request = DummyRequest(path.encode().split(b"/"))
        request.method = b"GET"
        resource = getChildForRequest(self.root, request)
        if resource is self.git:
            return 0, b"git"
        body = resource.render(request)
        return request.responseCode or 200, body

    def test_says_what_it_is_and_that_it_is_well(self) -> None:
        self.assertIn(b"deployd hub", self.get("")[1])
        self.assertEqual(self.get("healthz")[1], b"ok\n")

    def test_names_that_no_app_can_have_are_its_own(self) -> None:
        self.assertEqual([self.get(path)[0] for path in ("-", "-/x/y", "metrics", "metrics/x")], [404] * 4)
        self.assertEqual([self.get(path)[0] for path in ("", "healthz")], [200] * 2)

    def test_everything_else_is_gits(self) -> None:
        for path in ("webapp/info/refs", "team/webapp.git/git-upload-pack", "x", "/x", "healthz/x", "-x/info/refs"):
            self.assertEqual(self.get(path), (0, b"git"))

    def test_the_url_says_how_git_is_served(self) -> None:
        self.assertEqual(git_url({"http": "h:1"}), "http://h:1")
        self.assertEqual(git_url({"http": "h:1", "scheme": "https"}), "https://h:1")
        self.assertEqual(git_url({}), "")
