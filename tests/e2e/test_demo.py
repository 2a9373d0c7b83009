"""`deployctl demo`: every step holds, two run side by side, and nothing is left behind."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import BIN, PYTHON_ENVIRONMENT
from tests.e2e.waiting import until

DEADLINE = 120.0


class Demo:
    """One running demo; all it starts carries ``mark`` in its environment (TMPDIR)."""

    def __init__(self, place: Path, *options: str) -> None:
        self.place = place
        place.mkdir()
        self.output = place / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [str(BIN / "deployctl"), "demo", *options],
                env=PYTHON_ENVIRONMENT | {"TMPDIR": str(place)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait(self) -> int:
        return self.process.wait(DEADLINE)

    def left(self) -> list[str]:
        """The command lines of processes that work below this demo's directory."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.place in (entry / "cwd").readlink().parents:
                    found.append((entry / "cmdline").read_text())
            except OSError:
                continue
        return found


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()


def test_two_demos_side_by_side_hold_every_step_and_leave_nothing(tmp_path: Path, demos: list[Demo]) -> None:
    demos += [Demo(tmp_path / name, "--exit") for name in ("one", "two")]
    for demo in demos:
        assert demo.wait() == 0, demo.text()
        assert demo.left() == []
        assert [path.name for path in demo.place.iterdir()] == ["output"]
        for line in ("beep boop", "HUG ALL HUMANS", "beepity boop!", "BEFRIEND ALL HUMANS", "$ git push hub master"):
            assert line in demo.text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_stays_up_ends_without_a_trace(tmp_path: Path, demos: list[Demo], number: int) -> None:
    demo = Demo(tmp_path / "demo")
    demos.append(demo)
    until(lambda: "until Ctrl-C" in demo.text() or demo.process.poll() is not None, "it is up", DEADLINE)
    assert demo.left()
    demo.process.send_signal(number)
    assert demo.wait() == 0, demo.text()
    assert demo.left() == []
    assert [path.name for path in demo.place.iterdir()] == ["output"]


def test_an_interrupt_in_the_middle_leaves_nothing_either(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path / "demo")
    demos.append(demo)
    until(lambda: "$ deployctl deploy" in demo.text() or demo.process.poll() is not None, "it deploys", DEADLINE)
    demo.process.send_signal(signal.SIGINT)
    assert demo.wait() == 130, demo.text()
    assert demo.left() == []
    assert "Traceback" not in demo.text()
