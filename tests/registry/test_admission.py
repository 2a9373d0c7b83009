"""Who may read a private registry over HTTP, through real bytes."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from deployd.net.secret import Secret, read_url
from deployd.registry.admission import Admission, AdmittingSite
from deployd.registry.answers import Answer
from deployd.registry.site import JsonResource

SECRET = Secret("a:b /%@ ключ")
TOKEN = SECRET.read_token()


class Page(JsonResource):
    """Says what it saw of the request."""

    isLeaf = True

    async def answer(self, request: Any) -> Answer:
        seen = [path.decode() for path in (request.path, request.uri, *request.postpath)]
        return Answer({"seen": seen, "args": {key.decode(): value[0].decode() for key, value in request.args.items()}})


class Transport(StringTransport):
    def unregisterProducer(self) -> None:
        self.producer = None


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


class AdmissionCase(SynchronousTestCase):
    def ask(self, path: str, *authorization: str, method: str = "GET", **terms: Any) -> tuple[int, Any, bytes]:
        """The status, the document and the head of the answer of a private registry."""
        top = JsonResource()
        top.putChild(b"v1", Page())
        top.putChild(b"healthz", Page())
        site = AdmittingSite(Admission(**({"private": True, "secret": SECRET} | terms)), top, Clock())
        channel = site.buildProtocol(IPv4Address("TCP", "10.0.0.9", 4000))
        transport = Transport(peerAddress=IPv4Address("TCP", "10.0.0.9", 4000))
        channel.makeConnection(transport)
        more = "".join(f"Authorization: {each}\r\n" for each in authorization)
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n{more}\r\n".encode())
        head, _, body = transport.value().partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body) if body else None, head

    def code(self, path: str, *authorization: str, **terms: Any) -> int:
        return self.ask(path, *authorization, **terms)[0]


class PrivateTests(AdmissionCase):
    def test_nothing_is_read_without_authorization_and_the_answer_says_how(self) -> None:
        for path in ("/", "/v1", "/v1/ports?a=b", "/metrics", "/healthz/", "/healthz/x", "//healthz", "/%68ealthz"):
            code, document, head = self.ask(path)
            self.assertEqual(code, 401, path)
            self.assertIn("is private", document["error"])
            self.assertIn(b"WWW-Authenticate: Basic", head.title().replace(b"Www-", b"WWW-"))
            self.assertNotIn(b"access-control", head.lower())

    def test_health_stays_open(self) -> None:
        self.assertEqual(self.code("/healthz"), 200)
        self.assertEqual(self.code("/healthz?x=1"), 200)

    def test_other_methods_open_nothing(self) -> None:
        for method in ("HEAD", "POST", "PUT", "OPTIONS"):
            self.assertEqual(self.code("/v1/ports", method=method), 401, method)

    def test_the_secret_is_a_password_for_any_user(self) -> None:
        for user in ("", "git", "admin"):
            self.assertEqual(self.code("/v1/ports", basic(user, "a:b /%@ ключ")), 200)

    def test_the_read_token_is_a_bearers_or_a_password(self) -> None:
        for authorization in (f"Bearer {TOKEN}", f"bearer  {TOKEN} ", basic("", TOKEN), basic("me", TOKEN)):
            self.assertEqual(self.code("/v1/ports", authorization), 200, authorization)

    def test_wrong_words_are_refused(self) -> None:
        for authorization in (
            "",
            "Basic",
            "Basic !!!",
            "Basic " + b64encode(b"no colon").decode(),
            basic("a:b /%@ ключ", ""),
            basic("", "a:b /%@ ключ "),
            basic("", TOKEN[:-1]),
            basic("", ""),
            "Bearer",
            "Bearer " + TOKEN[1:],
            "Bearer a:b /%@ ключ",
            TOKEN,
            f"Digest {TOKEN}",
        ):
            self.assertEqual(self.code("/v1/ports", authorization), 401, authorization)

    def test_two_authorizations_are_none(self) -> None:
        self.assertEqual(self.code("/v1/ports", f"Bearer {TOKEN}", "Bearer x"), 401)

    def test_what_another_secret_opens_does_not_open_this_one(self) -> None:
        other = Secret("other")
        self.assertEqual(self.code("/v1/ports", f"Bearer {other.read_token()}"), 401)
        self.assertEqual(self.code("/v1/ports", basic("", "other")), 401)

    def test_without_a_secret_nothing_opens_it(self) -> None:
        """It has authorized keys then, and those read over AMP."""
        for authorization in (basic("", ""), "Bearer ", f"Bearer {TOKEN}"):
            self.assertEqual(self.code("/v1/ports", authorization, secret=None), 401)
        self.assertEqual(self.code("/healthz", secret=None), 200)

    @given(st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=60))
    def test_no_guess_opens_it(self, guess: str) -> None:
        for authorization in (f"Bearer {guess}", basic("", guess), f"Basic {guess}"):
            self.assertEqual(self.code("/v1/ports", authorization), 401)


class TokenInThePathTests(AdmissionCase):
    def test_a_url_with_the_token_is_all_that_a_client_needs(self) -> None:
        url = read_url("http://r:6080/", TOKEN).removeprefix("http://r:6080")
        code, document, _ = self.ask(f"{url}/v1/ports/c0ffee?app=team/webapp&role=say")
        self.assertEqual((code, document["args"]), (200, {"app": "team/webapp", "role": "say"}))

    def test_no_resource_sees_it(self) -> None:
        _, document, _ = self.ask(f"/token/{TOKEN}/v1/ports/c0ffee?app=webapp")
        self.assertEqual(document["seen"], ["/v1/ports/c0ffee", "/v1/ports/c0ffee?app=webapp", "ports", "c0ffee"])

    def test_a_wrong_one_is_refused_even_where_all_is_open(self) -> None:
        for path in (
            "/token",
            "/token/",
            "/token/x/v1",
            f"/token/{TOKEN}x/v1",
            f"/token/%20{TOKEN}/v1",
            "/token/x/healthz",
        ):
            for private in (True, False):
                self.assertEqual(self.code(path, private=private), 401, path)

    def test_it_goes_on_opening_a_registry_that_is_not_private_any_more(self) -> None:
        """Apps that were started with the URL have it for as long as they run."""
        self.assertEqual(self.code(f"/token/{TOKEN}/v1/ports", private=False), 200)
        self.assertEqual(self.code("/v1/ports", private=False), 200)

    def test_it_tells_nothing_of_the_other_purposes(self) -> None:
        self.assertEqual(len(TOKEN), 43)
        self.assertNotIn(SECRET.key("read").hex(), TOKEN)
        self.assertNotEqual(TOKEN, Secret("other").read_token())
        self.assertEqual(TOKEN, Secret("a:b /%@ ключ").read_token())
