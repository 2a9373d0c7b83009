"""Which commands can take over their listening socket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.sockets import not_simple, taking_argv


class SocketTests(SynchronousTestCase):
    def test_one_simple_command_can(self) -> None:
        for command in (
            "gunicorn app:app",
            "exec gunicorn app:app",
            '"/opt/my app/serve" --name "a; b" --home=$HOME/x > log 2>&1',
            "./serve ${PORT} 'x | y'",
            "serve # not here",
        ):
            self.assertEqual(not_simple(command), "", command)

    def test_what_the_shell_has_to_stay_for_cannot(self) -> None:
        for command, word in (
            ("cd src; serve", "one simple command"),
            ("a && b", "one simple command"),
            ("a | tee log", "one simple command"),
            ("serve &", "one simple command"),
            ("serve $(cat args)", "one simple command"),
            ("serve `cat args`", "one simple command"),
            ("serve\n--x", "one simple command"),
            ("X=1 serve", "put the variables before it into env"),
            ("if x", "the shell's own if"),
            ("cd src", "the shell's own cd"),
            ("serve 'x", "a quote that is not closed"),
        ):
            self.assertIn(word, not_simple(command))

    def test_the_shell_gives_its_place_to_the_program(self) -> None:
        for command in ("exec  serve x", "serve x"):
            self.assertEqual(taking_argv(command), ("/bin/sh", "-c", "exec serve x"))

    @given(st.text())
    def test_any_text_can_be_asked_about(self, text: str) -> None:
        not_simple(text)
