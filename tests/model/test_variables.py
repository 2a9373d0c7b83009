"""Which variables an app may be given."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.model.invalid import Invalid
from deployd.model.variables import variables


class VariableTests(SynchronousTestCase):
    def test_they_come_by_name(self) -> None:
        self.assertEqual(
            list(variables({"b": "1", "_A9": "", "B": "ключ\n"}).items()), [("B", "ключ\n"), ("_A9", ""), ("b", "1")]
        )

    def test_what_deployd_says_itself_is_refused(self) -> None:
        for name in ("PORT", "HOST", "COMMIT", "DEPLOYD_SECRET", "LISTEN_FDS"):
            self.assertIn("deployd itself", str(self.assertRaises(Invalid, variables, {name: "x"})))

    def test_what_no_process_can_be_given_is_refused_without_its_value(self) -> None:
        for values, word in (
            ({"": "hush"}, "is not a variable"),
            ({"A-B": "hush"}, "is not a variable"),
            ({"1A": "hush"}, "is not a variable"),
            ({"Ä": "hush"}, "is not a variable"),
            ({"A": "hush\0"}, "NUL"),
            ({"A": "hush\udc80"}, "UTF-8"),
            ({"A": "hush" * 5000}, "longer than 8192 bytes"),
            ({f"A{n}": "hush" * 1500 for n in range(3)}, "more than 16384 bytes"),
            ({f"A{n}": "hush" for n in range(201)}, "at most 200 variables"),
        ):
            said = str(self.assertRaises(Invalid, variables, values))
            self.assertIn(word, said)
            self.assertNotIn("hush", said)
