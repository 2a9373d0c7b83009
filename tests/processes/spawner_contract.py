"""What ``running.start`` may rely on, as tests that both the real reactor and FakeSpawner pass.

A *world* runs a shell script for real, or plays the same with a FakeProcess; each function of CONTRACT is one test.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from attrs import define, field
from twisted.internet.interfaces import IReactorProcess

from deployd import errors
from deployd.processes.running import AppProcess, Exit, start
from deployd.testing.spawner import FakeProcess

ENV = {"PATH": "/usr/bin:/bin", "COLOUR": "bl\u00fc = blue"}


@define
class Heard:
    """What one process said, in ``file``, and how it ended."""

    file: Path
    said_at_exit: list[bytes] = field(factory=list)
    exits: list[Exit] = field(factory=list)
    process: AppProcess | None = None

    @property
    def lines(self) -> list[str]:
        return sorted(self.file.read_text().splitlines())

    @property
    def app(self) -> AppProcess:
        assert self.process
        return self.process


class World(Protocol):
    spawner: IReactorProcess
    directory: str
    outputs: Path

    def play(self, process: AppProcess, acts: Callable[[FakeProcess], None]) -> None:
        """Have a fake process do what the script of a real one says."""

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what must come; fail if it does not."""

    async def a_while(self) -> None:
        """Long enough for something that must not come."""


def run(world: World, script: str, acts: Callable[[FakeProcess], None]) -> Heard:
    heard = Heard(Path(world.outputs, "output"))

    def exited(exit: Exit) -> None:
        assert heard.process, "the end is never told before the start has returned"
        heard.exits.append(exit)
        heard.said_at_exit.append(heard.file.read_bytes())

    with heard.file.open("ab") as output:
        command = ("/bin/sh", "-c", script)
        heard.process = start(world.spawner, command, ENV, world.directory, output.fileno(), exited)
    world.play(heard.process, acts)
    return heard


async def both_outputs_and_the_code_are_told(world: World) -> None:
    def acts(app: FakeProcess) -> None:
        app.write(b"out\n")
        app.write(b"err\n", 2)
        app.exit(3)

    heard = run(world, "echo out; echo err >&2; exit 3", acts)
    await world.until(lambda: bool(heard.exits))
    assert heard.exits == [Exit(3)]
    assert heard.lines == ["err", "out"]


async def success_is_code_zero(world: World) -> None:
    heard = run(world, "exit 0", lambda app: app.exit())
    await world.until(lambda: bool(heard.exits))
    assert heard.exits == [Exit(0)]
    assert heard.app.exit == Exit(0)


async def a_signal_is_told_as_one(world: World) -> None:
    heard = run(world, "kill -KILL $$", lambda app: app.exit(signal=9))
    await world.until(lambda: bool(heard.exits))
    assert heard.exits == [Exit(None, signal.SIGKILL)]


async def last_words_are_there_before_the_end_is_told(world: World) -> None:
    def acts(app: FakeProcess) -> None:
        app.write(b"half a line")
        app.exit(1)

    heard = run(world, "printf 'half a line'; exit 1", acts)
    await world.until(lambda: bool(heard.exits))
    assert heard.said_at_exit == [b"half a line"]


async def environment_and_directory_are_those_given(world: World) -> None:
    def acts(app: FakeProcess) -> None:
        app.write("".join(f"{app.env['COLOUR']}\n{app.cwd}\n").encode())
        app.exit()

    heard = run(world, 'echo "$COLOUR"; pwd', acts)
    await world.until(lambda: bool(heard.exits))
    assert heard.lines == sorted([ENV["COLOUR"], world.directory])


async def the_end_is_told_though_a_child_holds_the_output(world: World) -> None:
    """And what the child says later is still kept."""

    def acts(app: FakeProcess) -> None:
        app.exit()
        app.write(b"late\n")

    heard = run(world, "(sleep 0.2; echo late) & exit 0", acts)
    await world.until(lambda: bool(heard.exits))
    await world.until(lambda: heard.lines == ["late"])
    assert heard.exits == [Exit(0)]


async def a_signal_that_is_not_ignored_ends_it(world: World) -> None:
    heard = run(world, "exec sleep 60", lambda app: None)
    heard.app.transport.signalProcess("TERM")
    await world.until(lambda: bool(heard.exits))
    assert heard.exits == [Exit(None, signal.SIGTERM)]


async def an_ignored_signal_does_not_end_it_but_kill_does(world: World) -> None:
    def acts(app: FakeProcess) -> None:
        app.ignored.add(signal.SIGTERM)
        app.write(b"ready\n")

    heard = run(world, "trap '' TERM; echo ready; while :; do sleep 0.01; done", acts)
    await world.until(lambda: heard.lines == ["ready"])
    heard.app.transport.signalProcess("TERM")
    await world.a_while()
    assert heard.exits == []
    heard.app.transport.signalProcess("KILL")
    await world.until(lambda: bool(heard.exits))


async def a_command_with_a_nul_is_refused(world: World) -> None:
    for argv, env in ((("/bin/echo", "a\0b"), ENV), (("/bin/echo",), {"A": "\0"})):
        with pytest.raises(errors.Refused, match="NUL"):
            start(world.spawner, argv, env, world.directory, 2, print)


CONTRACT = [
    both_outputs_and_the_code_are_told,
    success_is_code_zero,
    a_signal_is_told_as_one,
    last_words_are_there_before_the_end_is_told,
    environment_and_directory_are_those_given,
    the_end_is_told_though_a_child_holds_the_output,
    a_signal_that_is_not_ignored_ends_it,
    an_ignored_signal_does_not_end_it_but_kill_does,
    a_command_with_a_nul_is_refused,
]
