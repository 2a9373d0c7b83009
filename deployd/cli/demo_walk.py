"""The walk-through of the demo, step by step, each step checked."""

from __future__ import annotations

import http.client
import json
import secrets
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from deployd.cli.demo_daemons import Daemons, end_apps
from deployd.cli.demo_shell import Interrupts, Shell, StepFailed

APP = "webapp"
HOST = "shop.example"
EXAMPLE = Path(__file__).parent / "examples" / "beep-boop-python"
LOOK_AGAIN = 0.5
CALL_TIMEOUT = 20.0
# Half of the calls go to each release, by chance: that this many go to one of them will not happen.
MAX_CALLS = 60
FEW_CALLS = 4
INTERRUPTED = 130

Ports = dict[str, dict[str, list[dict[str, Any]]]]


def show_demo(leave: bool) -> int:
    """Walk through; stay up unless ``leave``; end everything; the exit code. Raise StepFailed."""
    interrupts = Interrupts()
    interrupts.install()
    directory = Path(tempfile.mkdtemp(prefix="deployd-demo-"))
    shell = Shell(directory, interrupts)
    walk = Walk(shell)
    try:
        code = _walked(walk, shell, leave)
    finally:
        try:
            left = walk.end()
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    if left:
        raise StepFailed(left)
    return code


def _walked(walk: Walk, shell: Shell, leave: bool) -> int:
    try:
        click.echo(f"A cluster of its own in {shell.directory}; it is removed at the end.")
        walk.all_steps()
        shell.note("every step held")
        if not leave:
            walk.stay()
        return 0
    except KeyboardInterrupt:
        click.echo("\nending: router, drones and their apps, hub, registry")
        return 0 if walk.finished else INTERRUPTED


class Walk:
    """One walk-through. ``finished``: every step held."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._home = shell.directory
        self._daemons = Daemons(shell)
        self._registry = ""
        self._hub_http = ""
        self._router = ""
        self._exports = ""
        self.finished = False

    def all_steps(self) -> None:
        """Raise StepFailed, KeyboardInterrupt."""
        self._start_cluster()
        first = self._push_an_app()
        self._shell.note("every commit runs beside the earlier ones; this is the port table, by commit and role")
        table = self._ports()
        self._expect(list(table) == [first], "the port table has the commit")
        old = self._http_port(table, first)
        self._call(old, "", "beep boop")
        self._call(old, "/HUG", "HUG ALL HUMANS")
        self._route_first(first)
        second = self._push_a_change()
        table = self._ports()
        self._expect(sorted(table) == sorted([first, second]), "both commits are in the port table")
        self._expect(self._http_port(table, first) == old, "the first commit stayed where it was")
        new = self._http_port(table, second)
        self._call(new, "", "beepity boop!")
        self._call(new, "/BEFRIEND", "BEFRIEND ALL HUMANS")
        self._call(old, "", "beep boop")
        self._route_both(first, second)
        self._roll_back()
        self._retire(first, second, old)
        self.finished = True

    def stay(self) -> None:
        """Until a signal, or until a daemon dies; raise KeyboardInterrupt, StepFailed."""
        self._invite()
        while True:
            self._shell.interrupts.wait(LOOK_AGAIN)
            self._daemons.check()

    def end(self) -> str:
        """End every process; a sentence if one did not end by itself."""
        killed = self._daemons.stop()
        apps = end_apps(self._registry, click.echo) if self._registry else 0
        if killed or apps:
            return f"at the end these had to be killed: {', '.join([*killed, f'{apps} apps'])}"
        return ""

    # The steps.

    def _start_cluster(self) -> None:
        self._shell.note("a registry, a hub, two drones, of which one says what the other shows, and a router")
        secret = self._home / "secret"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_urlsafe(24) + "\n")
        loopback = ("--interface", "127.0.0.1", "--port", "0")
        registry = self._daemons.start("registry", "registry", *loopback).wait()
        self._registry = registry["amp"]
        hub = self._daemons.start("hub", "hub", *loopback, "--registry", self._registry).wait()
        self._hub_http = hub["http"]
        drone = ("--hub", hub["amp"], "--name")
        drones = [
            self._daemons.start("drone", "say", *drone, "say", "--role", "say", "--", "python3", "say.py"),
            self._daemons.start("drone", "web", *drone, "web", "--role", "http", "--", "python3", "http.py"),
        ]
        router = self._daemons.start("router", "router", *loopback, "--hub", hub["amp"], "--name", "router")
        for started in drones:
            started.wait()
        self._router = router.wait()["http"]
        addresses = {"DEPLOYD_HUB": hub["amp"], "DEPLOYD_REGISTRY": self._registry}
        named = " ".join(f"{name}={address}" for name, address in addresses.items())
        self._exports = f'{named} DEPLOYD_SECRET="$(cat {secret})"'
        self._shell.export(self._exports, addresses | {"DEPLOYD_SECRET": secret.read_text().strip()})

    def _push_an_app(self) -> str:
        """The commit that was pushed and deployed."""
        shell = self._shell
        shell.note("an ordinary git repository; git gets the secret from a credential helper")
        place = self._home / APP
        shell.git("init", "-q", "-b", "master", APP)
        shell.cd(place)
        shell.type(f"cp {EXAMPLE}/*.py .")
        for path in EXAMPLE.glob("*.py"):
            shutil.copyfile(path, place / path.name)
        self._write_credentials()
        for setting in (
            ("user.name", "demo"),
            ("user.email", "demo@localhost"),
            ("credential.helper", f"store --file={shlex.quote(str(self._home / 'credentials'))}"),
        ):
            shell.git("config", *setting)
        shell.git("add", "-A")
        shell.git("commit", "-q", "-m", "beep boop")
        shell.git("remote", "add", "hub", f"http://{self._hub_http}/{APP}")
        shell.git("push", "hub", "master")
        commit = shell.git("rev-parse", "HEAD").strip()
        shell.note("deploy it: on every drone, and wait until it is ready")
        shell.deployctl("deploy", APP, commit)
        return commit

    def _push_a_change(self) -> str:
        """The second commit, pushed and deployed."""
        shell = self._shell
        shell.note("a change, pushed and deployed beside the first; in a work tree deploy knows app and commit")
        say = shell.directory / "say.py"
        shell.type("sed -i 's/beep boop\\\\n/beepity boop!\\\\n/' say.py")
        say.write_text(say.read_text().replace("beep boop\\n", "beepity boop!\\n"))
        shell.git("commit", "-q", "-a", "-m", "beepity")
        shell.git("push", f"http://{self._hub_http}/{APP}", "master")
        commit = shell.git("rev-parse", "HEAD").strip()
        shell.deployctl("deploy")
        return commit

    def _route_first(self, first: str) -> None:
        self._shell.note("the router gives it one address, whatever its port is")
        self._shell.deployctl("route", "set", HOST, f"{APP}:http", first)
        self._visit("beep boop")

    def _route_both(self, first: str, second: str) -> None:
        shell = self._shell
        shell.note("who sees which: half of the requests go to each; the router decides anew for each request")
        shell.deployctl("route", "set", HOST, f"{APP}:http", f"{first[:7]}=50", f"{second[:7]}=50")
        answers = {"beep boop": 0, "beepity boop!": 0}
        for number in range(MAX_CALLS):
            if number >= FEW_CALLS and all(answers.values()):
                break
            answers[self._visit(*answers)] += 1
        self._expect(all(answers.values()), "both releases have answered")

    def _roll_back(self) -> None:
        self._shell.note("back, at once: nothing has to be started")
        self._shell.deployctl("rollback", HOST)
        for _ in range(FEW_CALLS - 1):
            self._visit("beep boop")

    def _retire(self, first: str, second: str, old: str) -> None:
        shell = self._shell
        shell.note("the second one is right after all, and nobody needs the first one any more")
        shell.deployctl("route", "set", HOST, f"{APP}:http", second)
        shell.deployctl("retire", APP, first)
        self._expect(list(self._ports()) == [second], "only the second commit is left in the port table")
        self._expect(_get(old, "/") is None, f"nothing listens on {old} any more")
        self._visit("beepity boop!")
        shell.deployctl("releases", APP)

    def _invite(self) -> None:
        click.echo(
            f"\nIt runs until Ctrl-C. To try it, in another terminal:\n"
            f"  cd {self._home / APP}\n"
            f"  export {self._exports} PATH={Path(sys.executable).parent}:$PATH\n"
            f"  curl -H 'Host: {HOST}' http://{self._router}/HELLO\n"
            f"  deployctl ps; deployctl route show\n"
            f"  git commit --allow-empty -m 'one more' && git push hub master && deployctl deploy"
        )

    # What they are made of.

    def _write_credentials(self) -> None:
        """What `git credential-store` would have written after a first push with the secret typed in."""
        credentials = self._home / "credentials"
        credentials.touch(mode=0o600)
        secret = self._shell.environment["DEPLOYD_SECRET"]
        credentials.write_text(f"http://git:{secret}@{self._hub_http}\n")

    def _ports(self) -> Ports:
        table: Ports = json.loads(self._shell.deployctl("ports", "--json"))
        for commit, roles in table.items():
            both = {role: len(rows) for role, rows in roles.items()} == {"http": 1, "say": 1}
            self._expect(both, f"{commit[:7]} has one http and one say")
        return table

    def _http_port(self, table: Ports, commit: str) -> str:
        (row,) = table[commit]["http"]
        return f"{row['host']}:{row['port']}"

    def _call(self, address: str, path: str, expected: str) -> None:
        self._shell.interrupts.check()
        self._shell.type(f"curl http://{address}{path}")
        answer = _get(address, path or "/")
        click.echo("" if answer is None else answer, nl=False)
        self._expect(answer == f"{expected}\n", f"http://{address}{path} answers {expected!r}")

    def _visit(self, *expected: str) -> str:
        """Call the app through the router; which of the answers it was."""
        self._shell.interrupts.check()
        self._shell.type(f"curl -H 'Host: {HOST}' http://{self._router}")
        answer = _get(self._router, "/", HOST) or "no answer: nothing listens\n"
        click.echo(answer, nl=False)
        self._expect(answer.endswith("\n") and answer[:-1] in expected, f"{HOST} answers {' or '.join(expected)}")
        return answer[:-1]

    def _expect(self, held: bool, what: str) -> None:
        if not held:
            raise StepFailed(f"the demo expected that {what}; it is not so")


def _get(address: str, path: str, asked: str = "") -> str | None:
    """The body, or None where nothing listens. ``asked`` is the Host that is asked for, "" for the address."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=CALL_TIMEOUT)
    try:
        connection.request("GET", path, headers={"Host": asked or address})
        return connection.getresponse().read().decode("utf-8", "replace")
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {type(error).__name__}\n"
    finally:
        connection.close()
