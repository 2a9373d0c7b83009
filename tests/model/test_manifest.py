"""What to run: Procfile and deployd.toml together."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.deployd_toml import cache_faults
from deployd.model.faults import Fault, Faults, Faulty
from deployd.model.manifest import Manifest, read_files, read_manifest
from deployd.model.role import (
    BuildStep,
    Check,
    Limits,
    RoleCommand,
    RoleSettings,
    StopRule,
    role_has_port,
    shell_argv,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "deployd-toml.md"


def faults(procfile: str | None, toml: str | None) -> list[str]:
    """What is wrong, a sentence each."""
    return [str(fault) for fault in read_files(procfile, toml, Faults()).faults]


class ProcfileTests(SynchronousTestCase):
    def test_roles_come_in_order_with_their_shell_commands(self) -> None:
        text = "# comment\n\nweb: exec gunicorn app\r\nmail-worker: python w.py: x\n"
        self.assertEqual(
            read_manifest(text, None),
            Manifest(
                roles=(
                    RoleCommand("web", ("/bin/sh", "-c", "exec gunicorn app"), True),
                    RoleCommand("mail-worker", ("/bin/sh", "-c", "python w.py: x"), False),
                )
            ),
        )

    def test_release_is_no_role(self) -> None:
        manifest = read_manifest("release: ./migrate\nweb: serve", None)
        self.assertEqual(manifest.release, RoleCommand("release", shell_argv("./migrate"), False))
        self.assertEqual([role.role for role in manifest.roles or ()], ["web"])
        self.assertIsNone(read_manifest("release: ./migrate", None).roles)

    def test_everything_that_cannot_be_used_is_told_with_its_line(self) -> None:
        text = "web gunicorn\nweb:\nweb: a\nweb: b\nwe b: x\nlong: " + "x" * 20_000 + "\nnul: x\0y"
        self.assertEqual(
            faults(text, None),
            [
                "Procfile line 1: is not 'ROLE: COMMAND'",
                "Procfile line 2: is not 'ROLE: COMMAND'",
                "Procfile line 4: names the role 'web' a second time",
                "Procfile line 5: 'we b' is not a role: use up to 63 letters, digits, '_' and '-'",
                "Procfile line 6: the command of the role 'long' is longer than 16384 bytes; put it into a script",
                "Procfile line 7: the command of the role 'nul' holds a NUL, which no command can",
            ],
        )
        self.assertEqual(faults("# nothing", None), ["Procfile names no role"])
        self.assertEqual(faults("a: b\x0c\u2028c\r\nx", None), ["Procfile line 2: is not 'ROLE: COMMAND'"])
        self.assertEqual(
            faults("".join(f"r{n}: x\n" for n in range(51)), None), ["Procfile line 51: is one of more than 50 roles"]
        )

    def test_workers_and_clocks_listen_on_no_port(self) -> None:
        for role in ("worker", "clock", "mail-worker"):
            self.assertFalse(role_has_port(role))
        self.assertTrue(role_has_port("http"))

    def test_a_wrong_one_gives_no_command_but_leaves_the_rest(self) -> None:
        reading = read_files("nonsense\nweb: serve", "[roles.web]\nstop.grace = 3\n[[build]]\ncommand = 'x'", Faults())
        self.assertIsNone(reading.manifest.roles)
        self.assertEqual(
            [(role.role, role.argv, role.settings.stop.grace) for role in reading.manifest.settings], [("web", (), 3.0)]
        )
        self.assertEqual(reading.manifest.build, (BuildStep("x"),))


FULL = """
[env]
GREETING = "hello"
WORKERS = "2"
[[build]]
command = "npm ci"
cache = ["package.json", "web/package-lock.json"]
makes = ["node_modules"]
[[build]]
command = "npm run build"
timeout = 60
[release]
command = "./manage.py migrate"
timeout = 300
[roles.http]
command = "gunicorn app:app"
count = 2
give-up = 0
[roles.http.env]
WORKERS = "4"
[roles.http.check]
path = "/health"
status = 204
interval = 0.5
timeout = 1
deadline = 30
failures = 2
[roles.http.stop]
signal = "sigquit"
grace = 0
[roles.http.limits]
memory = "512M"
files = 1024
processes = 64
cpu = 150
disk = "2G"
[roles.mail]
port = false
check.command = "./alive"
[roles.web]
limits = { memory = 1073741824 }
"""


class FormatTests(SynchronousTestCase):
    def test_says_everything_of_a_release(self) -> None:
        manifest = read_manifest("http: replaced\nmail: ./mail\n", FULL)
        env = {"GREETING": "hello", "WORKERS": "2"}
        http = RoleSettings(
            check=Check("http", "/health", 204, 204, "", 0.5, 1.0, 30.0, 2),
            stop=StopRule("QUIT", 0.0),
            limits=Limits(512 << 20, 1024, 64, 150, 2 << 30),
            env={"GREETING": "hello", "WORKERS": "4"},
            give_up=0,
        )
        mail = RoleSettings(check=Check("exec", command="./alive"), env=env)
        self.assertEqual(
            manifest,
            Manifest(
                roles=(
                    RoleCommand("http", shell_argv("gunicorn app:app"), True, 2, http),
                    RoleCommand("mail", shell_argv("./mail"), False, 1, mail),
                ),
                settings=(
                    RoleCommand("web", (), True, 1, RoleSettings(limits=Limits(1 << 30), env=env)),
                    RoleCommand("", (), True, 1, RoleSettings(env=env)),
                ),
                build=(
                    BuildStep("npm ci", ("package.json", "web/package-lock.json"), ("node_modules",)),
                    BuildStep("npm run build", timeout=60.0),
                ),
                release=RoleCommand(
                    "release", shell_argv("./manage.py migrate"), False, 1, RoleSettings(env=env, within=300.0)
                ),
            ),
        )

    def test_an_empty_file_says_nothing(self) -> None:
        self.assertEqual(read_manifest(None, ""), Manifest())
        self.assertEqual(read_manifest(None, None), Manifest())

    def test_one_build_step_may_be_a_plain_table(self) -> None:
        self.assertEqual(read_manifest(None, "[build]\ncommand = 'make'").build, (BuildStep("make"),))

    def test_a_program_with_a_socket_takes_the_place_of_the_shell(self) -> None:
        manifest = read_manifest("http: gunicorn app:app", "[roles.http]\nsocket = true")
        assert manifest.roles is not None
        self.assertEqual(manifest.roles[0].argv, shell_argv("exec gunicorn app:app"))
        self.assertTrue(manifest.roles[0].settings.socket)

    def test_the_example_in_the_document_is_right(self) -> None:
        (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        manifest = read_manifest("http: replaced\nworker: ./work", example)
        self.assertEqual([role.role for role in manifest.roles or ()], ["http", "worker"])
        assert manifest.release is not None
        self.assertEqual(len(manifest.build), 2)


WRONG = (
    ("x", "line 1: expected '=' after a key in a key/value pair"),
    ("\n[roles.http]\ncheck = {\n", "line 3: "),
    ("\n[rolse.http]\n", "line 2: rolse is not known; did you mean roles?"),
    ("[roles.http]\n\nchekc.path = '/'", "line 3: roles.http.chekc is not known; did you mean check?"),
    ("[roles.http]\nzzz = 1", "line 2: roles.http.zzz is not known; here can be command, port"),
    ("[roles]\nhttp = 'x'", 'line 2: roles.http is a table: write [roles.http], not "x"'),
    ("[roles.'a b']\n", "line 1: roles.\"a b\" cannot be: 'a b' is not a role"),
    ("[roles.release]\ncommand = 'x'", "line 1: roles.release is no role: what runs once per release is [release]"),
    ("[roles.http]\ncount = 0", "line 2: roles.http.count is a whole number of instances from 1 to 100, not 0"),
    ("[roles.http]\ncount = true", "line 2: roles.http.count is a whole number of instances from 1 to 100, not true"),
    ("[roles.http]\ncount = 1.0", "line 2: roles.http.count is a whole number of instances from 1 to 100, not 1.0"),
    ("".join(f"\n[roles.r{n}]" for n in range(51)), "line 2: roles names more than 50 roles, those of the Procfile"),
    ("[roles.a]\ncount = 100\n[roles.b]\ncount = 100\n[roles.c]", "asks for 201 instances on each drone"),
    ("[roles.http]\nport = 1", "line 2: roles.http.port is true or false, not 1"),
    ("[roles.http]\ncommand = ' '", "line 2: roles.http.command is empty"),
    ("[roles.http]\nsocket = true\nport = false", "line 2: roles.http.socket needs a port"),
    ("[roles.http]\nsocket = true\ncommand = 'a; b'", "line 2: roles.http.socket needs one simple command"),
    ("[roles.http.check]\ninterval = 'often'", 'interval is a number of seconds from 0.1 to 3600, not "often"'),
    (
        "[roles.http.check]\ntimeout = nan",
        "line 2: roles.http.check.timeout is a number of seconds from 0.1 to 600, not nan",
    ),
    ("[roles.http.check]\npath = 'x'", "line 2: roles.http.check.path is a path of at most 1000 characters"),
    ("[roles.http.check]\nstatus = '399-200'", "line 2: roles.http.check.status is a status like 204"),
    ("[roles.http.check]\nstatus = 99", "line 2: roles.http.check.status is a status like 204"),
    ("[roles.http.check]\nkind = 'smtp'", 'line 2: roles.http.check.kind is tcp, http or exec, not "smtp"'),
    ("[roles.http.check]\nkind = 'exec'", "line 1: roles.http.check is a check of kind exec and needs a command"),
    ("[roles.http.check]\nkind = 'tcp'\npath = '/'", "line 3: roles.http.check.path is for checks of kind http, and"),
    ("[roles.http.check]\npath = '/'\ncommand = 'x'", "line 3: roles.http.check.command is for checks of kind exec"),
    ("[roles.worker.check]\npath = '/'", "line 1: roles.worker.check is a check of kind http, which needs a port"),
    ("[roles.http.stop]\nsignal = 'KILL'", "line 2: roles.http.stop.signal is one of TERM, INT"),
    ("[roles.http.limits]\nmemory = '1X'", "line 2: roles.http.limits.memory is a number of bytes like"),
    ("[roles.http.limits]\nmemory = '1K'", "line 2: roles.http.limits.memory is a number of bytes like"),
    ("[roles.http.limits]\ndisk = true", "line 2: roles.http.limits.disk is a number of bytes like"),
    ("[roles.http.limits]\nfiles = 3", "line 2: roles.http.limits.files is a whole number of open files from 16"),
    ("[env]\nX = 4", "line 2: env.X is text in quotes, not 4"),
    ("[env]\nPORT = '4'", "line 2: env.PORT cannot be: PORT is what deployd itself says"),
    ("[env]\n'a-b' = '4'", "line 2: env.a-b cannot be: 'a-b' is not a variable"),
    ('[env]\nX = "\\u0000"', "line 2: env.X cannot be: the value of X holds a NUL"),
    ("[build]\ntimeout = 3", "line 1: build needs a command"),
    ("[[build]]\ncommand = 'x'\n[[build]]\ncommand = 'y'\ncache = ['a']", "line 5: build.cache needs makes"),
    ("[[build]]\ncommand = 'x'\nmakes = ['a']", "line 3: build.makes needs cache"),
    ("[build]\ncommand = 'x'\ncache = ['../a']\nmakes = ['b']", 'line 3: build.cache has "../a", which is no path'),
    ("[build]\ncommand = 'x'\ncache = ['a']\nmakes = ['/b']", 'line 4: build.makes has "/b", which is no path'),
    ("[build]\ncommand = 'x'\ncache = ['a']\nmakes = ['.']", 'line 4: build.makes has ".", which is no path'),
    (
        "[build]\ncommand = 'x'\ncache = 'a'\nmakes = ['b']",
        "line 3: build.cache is a list of at most 50 texts in quotes",
    ),
    ("build = 3", "line 1: build is at most 20 tables: write [[build]], not 3"),
    (
        "[build]\ncommand = 'x'\ncache = ['c']\nmakes = ['ab', 'a/b/c', 'a/b']",
        'line 4: build.makes has "a/b/c", which is inside another of them',
    ),
    ("[release]\ntimeout = 5", "line 1: release needs a command"),
    ("x = " + "9" * 5000, "line 1: a value that is no text has at most 1000 characters"),
)


class FaultTests(SynchronousTestCase):
    def test_what_is_wrong_is_one_sentence_with_its_line(self) -> None:
        for text, sentence in WRONG:
            found = faults(None, text)
            self.assertTrue(found[0].startswith("deployd.toml "), found)
            self.assertIn(sentence, found[0], text)

    def test_one_mistake_is_one_sentence(self) -> None:
        for text in ("[release]\ncommand = 7", "release = 'x'", "[roles.http]\ncommand = 7", "[build]\ncommand = 7"):
            self.assertEqual(len(faults(None, text)), 1, faults(None, text))

    def test_what_tomllib_says_of_keys_is_put_as_the_file_has_them(self) -> None:
        for text, sentence in (
            ("[roles.http]\n[roles.http]", "line 2: cannot declare roles.http twice"),
            ("[env]\nx = 1\n[env]", "line 3: cannot declare env twice"),
        ):
            self.assertIn(sentence, faults(None, text)[0])

    def test_all_are_told_and_a_deploy_shows_the_first(self) -> None:
        text = "[roles.http]\ncount = 0\nport = 3\ngive-up = 'x'\nstop.grace = -1"
        error = self.assertRaises(Faulty, read_manifest, "x", text)
        self.assertEqual([fault.line for fault in error.faults], [1, 2, 3, 4, 5])
        self.assertTrue(str(error).startswith("Procfile line 1: "), str(error))
        self.assertTrue(str(error).endswith("; and 2 more"), str(error))

    def test_their_number_is_bounded(self) -> None:
        self.assertEqual(len(faults(None, "".join(f"x{n} = 1\n" for n in range(100)))), 20)

    def test_no_sentence_is_endless_or_moves_the_cursor(self) -> None:
        for text in (f"x = '{'y' * 60_000}'", f"{'k' * 60_000} = 1", '"\\u001b[2J" = 1', "x = \x1b", '[roles."\x9b"]'):
            for sentence in faults(f"{text}: \x1b[2J\nweb: x", text):
                self.assertLess(len(sentence), 500)
                self.assertTrue(sentence.isprintable(), repr(sentence))

    def test_what_has_to_fit_one_message_is_bounded(self) -> None:
        long = "x" * 8000
        many = "".join(f"V{n} = '{long}'\n" for n in range(3))
        for text, sentence in (
            (f"[env]\n{many}", "have more than 16384 bytes together"),
            (f"[roles.http.env]\n{many}", "have more than 16384 bytes together"),
            (f"[env]\nX = '{long * 2}'", "longer than 8192 bytes"),
            (f"[[build]]\ncommand = '{long}'\n" * 3, "build has more than 16384 bytes"),
            (f"[roles.http]\ncommand = '{long * 3}'", "longer than 16384 bytes"),
            (f"[roles.http.check]\ncommand = '{long}'", "shell command of at most 4096 bytes"),
        ):
            self.assertIn(sentence, faults(None, text)[0])

    def test_a_file_that_a_cache_is_keyed_by_is_in_the_commit(self) -> None:
        found = Faults()
        text = "[[build]]\ncommand = 'x'\ncache = ['here',\n 'gone']\nmakes = ['y']\n"
        cache_faults(text, ["gone"], found)
        cache_faults(text.replace("[[build]]", "[build]"), ["gone"], found)
        told = Fault("deployd.toml", 4, 'build.cache names "gone", which is no file of this commit')
        self.assertEqual(found.found, [told, told])


# A file as people may write it: (header, [(key, a good value, a wrong one)]).
SECTIONS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("[env]", (("A", '"""\n[roles.http]\ncount = 0\n"""', "1"), ("B", "'''\n[[build]]\n'''", "[]"))),
    ("[[build]]", (("command", "'make'", "1"), ("timeout", "5", '"5"'))),
    ("[[ build ]]", (("command", "'''\nmake\n'''", "{}"), ("cache", "['a',\n'b']", "['..']"), ("makes", "['c']", "1"))),
    ('[ "release" ]', (("command", "'x'", "''"), ("timeout", "5.5", "0"), ("stop.grace", "1", "true"))),
    ("[roles.http]", (("command", '"x"', "[]"), ("count", "2", "0"), ("port", "true", "1"), ("'give-up'", "0", "[]"))),
    ("[roles.http.env]", (("C", '"[x]"', "1"), ('"D"', "'y'", "2.5"))),
    ("[roles.'http'.check]", (("path", "'/'", "'x'"), ("interval", "1", "'often'"), ("failures", "3", "0.5"))),
    ("[roles . say]", (("limits", "{ memory = '1G', cpu = 50 }", "{ cpu = 0 }"), ("stop", "{ grace = 1 }", "3"))),
)  # fmt: skip
NOISE = st.lists(st.sampled_from(["", "# [roles.x]", "  # count = 0", "\t"]), max_size=2)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str, int]:
    """A right file, the same with one thing wrong, and the line of that."""
    sections = draw(st.permutations(SECTIONS))
    broken = draw(st.sampled_from([(header, key) for header, entries in SECTIONS for key, _, _ in entries]))
    unknown = draw(st.booleans())
    right: list[str] = []
    wrong: list[str] = []
    line = 0
    for header, entries in sections:
        start = [*draw(NOISE), header + draw(st.sampled_from(["", "  # c"]))]
        right += start
        wrong += start
        for key, good, bad in draw(st.permutations(entries)):
            noise = draw(NOISE)
            right += [*noise, f"{key} = {good}"]
            wrong += [*noise]
            if (header, key) == broken:
                line = "\n".join(wrong).count("\n") + 2
                wrong += [
                    f"{key}x = {good}" if unknown and key[-1] not in "'\"" and header not in ENVS else f"{key} = {bad}"
                ]
            else:
                wrong += [f"{key} = {good}"]
    return "\n".join(right), "\n".join(wrong), line


ENVS = ("[env]", "[roles.http.env]")


class PropertyTests(SynchronousTestCase):
    @given(files())
    def test_one_thing_that_is_wrong_is_found_in_its_line(self, made: tuple[str, str, int]) -> None:
        right, wrong, line = made
        self.assertEqual(faults(None, right), [])
        found = read_files(None, wrong, Faults()).faults
        self.assertIn(line, [fault.line for fault in found])
        # What only follows from it is said of the thing around it, so never before it in its own table.
        self.assertLessEqual(len(found), 2, found)

    @given(st.none() | st.text(), st.none() | st.text())
    def test_any_text_is_a_manifest_or_faulty(self, procfile: str | None, toml: str | None) -> None:
        try:
            read_manifest(procfile, toml)
        except Faulty as error:
            self.assertTrue(error.faults)

    @given(
        st.integers(0, len(FULL)), st.integers(0, 20), st.text(max_size=5) | st.sampled_from(["[", "'''", "=", "\n"])
    )
    def test_a_file_that_was_damaged_is_a_manifest_or_faulty(self, at: int, length: int, text: str) -> None:
        damaged = FULL[:at] + text + FULL[at + length :]
        try:
            read_manifest("web: serve", damaged)
        except Faulty as error:
            last = damaged.count("\n") + 1
            self.assertTrue(all(fault.line <= last for fault in error.faults), error.faults)
