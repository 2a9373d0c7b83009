"""What a person types, and what wrong usage gets."""

from __future__ import annotations

import click
from twisted.trial.unittest import SynchronousTestCase

from deployd import __version__
from deployd.cli.main import VERBS, run
from deployd.cli.main import _explained as explained
from deployd.cli.main import deployctl as root
from deployd.cli.verbs import GlobalOption, Verb, Verbs
from deployd.errors import InternalError, NoAnswer, Refused, SecretRefused, UnknownApp, Unreachable
from deployd.model.invalid import Invalid
from tests.cli.commands import deployctl


class UsageTests(SynchronousTestCase):
    def test_every_verb_of_the_list_exists_and_has_help(self) -> None:
        for name in VERBS:
            ran = deployctl(name, "--help")
            self.assertEqual(ran.code, 0, name)
            self.assertIn(f"deployctl {name}", ran.out)
            self.assertIn("Global options", ran.out)

    def test_the_version_is_printed_before_and_after_a_verb(self) -> None:
        for arguments in (["--version"], ["ps", "--version"]):
            self.assertEqual(deployctl(*arguments).out, f"deployctl {__version__}\n")

    def test_wrong_usage_is_one_sentence_and_exit_2(self) -> None:
        for arguments in (
            ["frobnicate"],
            ["--frobnicate"],
            ["stop"],
            ["releases"],
            ["retire", "webapp"],
            ["deploy", "a", "b", "c"],
            ["route", "frobnicate"],
            ["route", "set", "shop.example", "webapp:http"],
            ["route", "set", "shop/x", "webapp:http", "v1"],
            ["route", "set", "shop.example", "webapp", "v1"],
            ["route", "set", "shop.example", "webapp:a b", "v1"],
            ["route", "set", "shop.example", "webapp:http", "v1=0"],
            ["route", "set", "shop.example", "webapp:http", "v1=0.5"],
            ["route", "set", "shop.example", "webapp:http", "v1=1", "v1=2"],
            ["route", "set", "shop.example", "webapp:http", "v1", "--path", "api"],
            ["route", "show", "--path", "/api"],
            ["route", "rm"],
            ["rollback", "shop example"],
            ["rollback", "shop.example", "--to", "0"],
            ["promote", "shop.example"],
            ["promote", "shop.example", "v2", "--steps", "5,25"],
            ["promote", "shop.example", "v2", "--steps", "25,5,100"],
            ["promote", "shop.example", "v2", "--every", "0"],
            ["promote", "shop.example", "v2", "--every", "0.5"],
            ["pause"],
            ["retire"],
            ["retire", "webapp", "v1", "--unused"],
            ["retire", "webapp", "v1", "--dry-run"],
            ["retire", "webapp", "v1", "--force"],
            ["pin", "webapp"],
            ["drain", "a b"],
            ["app", "set", "webapp"],
            ["app", "set", "webapp", "keep"],
            ["app", "set", "webapp", "keep=1", "keep=2"],
            ["app", "set", "webapp", "keep=many"],
            ["app", "set", "webapp", "colour=red"],
            ["ps", "--timeout", "0"],
            ["ps", "--timeout", "soon"],
            ["ps", "--hub", ""],
            ["ps", "--secret", ""],
            ["ps", "--secret", "a", "--secret-file", "b"],
            ["--secret", "a", "ps", "--secret-file", "b"],
            ["deploy", "../../x", "master"],
            ["deploy", "--", "-rf", "master"],
            ["deploy", "a" * 300, "master"],
            ["deploy", "webapp", "a\nb"],
            ["deploy", "webapp", "master", "--need", "0"],
            ["deploy", "webapp", "master", "--where", "region"],
            ["deploy", "webapp", "master", "--drone", "a b"],
            ["ports", "--commit", "master"],
            ["ports", "--role", "a b"],
            ["completion", "tcsh"],
        ):
            ran = deployctl(*arguments)
            self.assertEqual(ran.code, 2, (arguments, ran))
            self.assertEqual(ran.out, "", arguments)
            self.assertEqual(len(ran.error.splitlines()), 1, ran.error)
            self.assertTrue(ran.error.startswith("deployctl: "), ran.error)

    def test_help_has_a_short_name(self) -> None:
        for arguments in ([], ["ports"], ["route", "set"]):
            self.assertEqual(deployctl(*arguments, "-h"), deployctl(*arguments, "--help"))

    def test_no_verb_shows_the_help(self) -> None:
        ran = deployctl()
        self.assertEqual(ran.code, 2)
        self.assertIn("Usage", ran.out + ran.error)

    def test_the_shells_get_a_completion_script(self) -> None:
        for shell in ("bash", "zsh", "fish"):
            ran = deployctl("completion", shell)
            self.assertEqual(ran.code, 0, ran)
            self.assertIn("_DEPLOYCTL_COMPLETE", ran.out)

    def test_verbs_complete_by_name(self) -> None:
        found = root.shell_complete(click.Context(root), "re")
        self.assertEqual([item.value for item in found], ["register", "releases", "restart", "resume", "retire"])

    def test_a_group_shows_its_words(self) -> None:
        ran = deployctl("route", "--help")
        for word in ("set", "show", "rm"):
            self.assertRegex(ran.out, rf"(?m)^  {word} +\S")
            self.assertIn(f"deployctl route {word}", deployctl("route", word, "--help").out)


class GlobalOptionTests(SynchronousTestCase):
    def given(self, *arguments: str) -> dict[str, object]:
        """What a verb is given of the global options."""
        seen: list[dict[str, object]] = []

        @click.command(cls=Verb)
        def look() -> None:
            seen.append(dict(click.get_current_context().obj or {}))

        group = Verbs("deployctl", verbs={})
        group.get_command = lambda context, name: look  # type: ignore[method-assign]
        group.main(list(arguments), standalone_mode=False)
        return seen[0]

    def test_they_count_before_and_after_the_verb_and_the_later_one_wins(self) -> None:
        given = self.given("--hub", "a", "--json", "look", "--hub", "b", "--timeout", "2.5")
        self.assertEqual(given, {"hub": "b", "json": True, "timeout": 2.5})
        self.assertEqual(self.given("look"), {})

    def test_every_global_option_is_one_of_the_contract(self) -> None:
        names = {option.name for option in root.params if isinstance(option, GlobalOption)}
        named = {"hub", "registry", "secret", "secret_file", "key", "registry_key", "json", "timeout", "version"}
        self.assertEqual(names, named)


class ErrorTests(SynchronousTestCase):
    def test_each_error_has_the_exit_code_of_the_contract(self) -> None:
        for error, code in (
            (Refused("no"), 1),
            (InternalError(), 1),
            (Invalid("not a name"), 2),
            (UnknownApp(), 2),
            (Unreachable("gone"), 3),
            (NoAnswer(), 3),
            (SecretRefused("wrong"), 4),
        ):
            sentence, found = explained(error)
            self.assertEqual(found, code, error)
            self.assertEqual(sentence, str(error))

    def test_what_nobody_expected_is_a_sentence_without_the_errors_own_text(self) -> None:
        sentence, code = explained(RuntimeError("hunter2"))
        self.assertEqual(code, 1)
        self.assertNotIn("hunter2", sentence)
        self.assertIn("RuntimeError", sentence)

    def test_run_returns_what_the_verb_returns(self) -> None:
        self.assertEqual(run(["--version"]), 0)
