"""The hub's answers to a fetch beside those of git's own upload-pack, to the same bytes, from the same repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from random import Random

from tests.git.serving.clients import command, lines, told
from tests.git.serving.test_any_history import Case

MINE = [digit * 40 for digit in "abcdef"]
ENVIRONMENT = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent", "LC_ALL": "C"}
ALLOWED = ["-c", "uploadpack.allowAnySHA1InWant=true", "-c", "safe.directory=*"]


def run(repository: Path, arguments: list[str], request: bytes = b"", protocol: str = "version=0") -> bytes:
    environment = {**ENVIRONMENT, "GIT_PROTOCOL": protocol}
    done = subprocess.run(
        ["git", *ALLOWED, *arguments], input=request, cwd=repository, env=environment, capture_output=True, check=False
    )
    return done.stdout


def before_pack(answer: bytes) -> tuple[list[str], bool]:
    """The lines before the pack, and whether there is one."""
    found = list[str]()
    for line in told_until_pack(answer):
        if line == "PACK":
            return found, True
        found.append(line)
    return found, False


def told_until_pack(answer: bytes) -> list[str]:
    found, at = list[str](), 0
    while at < len(answer):
        size = int(answer[at : at + 4], 16)
        content = answer[at + 4 : at + size]
        if content[:1] in (b"\1", b"\2"):
            return [*found, "PACK"]
        found.append(content.decode().removesuffix("\n") if size > 4 else "")
        at += max(size, 4)
    return found


def settled(answer: list[str], multi: bool = True) -> tuple[list[str], bool]:
    """In an order, and without what git repeats for each commit that it does not know; whether it says ready."""
    if not multi:
        first = [line for line in answer if line.startswith("ACK ")][:1]
        answer = [line for line in answer if not line.startswith("ACK ")] + first
    unknown = tuple(f"ACK {name}" for name in MINE)
    said = sorted({line for line in answer if not line.endswith("ready") and not line.startswith(unknown)})
    return said, any(line.endswith("ready") for line in answer)


def a_round(random: Random, case: Case) -> tuple[bytes, int]:
    """A request as git could make it."""
    made = case.made
    wants = [f"want {name}" for name in sorted(case.some(case.tips, 1, 2))]
    haves = [f"have {name}" for name in random.sample([*made.commits, *MINE], random.randint(0, len(made.commits)))]
    deepening = random.choice(
        [
            [],
            [],
            ["deepen 1"],
            ["deepen 2"],
            ["deepen 3"],
            ["deepen 2147483647"],
            ["deepen-not heads/0"],
            ["deepen-since 5"],
        ]
    )
    shallow = [
        f"shallow {name}" for name in random.sample(made.commits, min(len(made.commits), random.choice([0, 0, 1, 2])))
    ]
    shallow = [line for line in shallow if line[8:] in made.before(tip for tip in case.tips if tip in made.parents)]
    done = ["done"] if random.choice([True, False]) else []
    if random.choice([True, False]):
        return command("fetch", "thin-pack", "ofs-delta", *wants, *shallow, *deepening, *haves, *done), 2
    acks = random.choice(["", " multi_ack", " multi_ack_detailed", " multi_ack_detailed no-done"])
    wants[0] += f"{acks} side-band-64k thin-pack ofs-delta"
    return lines(*wants, *shallow, *deepening, "", *haves, *(done or [""])), 0


def test_answers_are_gits(tmp_path: Path) -> None:
    """Acknowledgments, cuts, and whether a pack comes."""
    for seed in range(30):
        case = case_of(seed, tmp_path / str(seed))
        request, version = a_round(case.random, case)
        protocol = f"version={version}"
        theirs, sends = before_pack(run(case.server.path, ["upload-pack", "--stateless-rpc", "."], request, protocol))
        understood = case.server.understand(request, version)
        if understood.refusal:
            assert not sends
            continue
        ours = told(understood.reply)
        if "shallow-info" not in ours:
            # git also says that nothing changes.
            theirs = [line for line in theirs if line not in ("shallow-info", "")]
            ours = [line for line in ours if line]
        if b"deepen-not" in request or b"deepen-since" in request:
            # git also tells of commits that are behind the cut.
            theirs = [line for line in theirs if line in ours or "shallow " not in line]
        multi = version == 2 or b"multi_ack" in request
        assert (settled(ours, multi), understood.recipe is not None) == (settled(theirs, multi), sends), request


def test_what_is_sent_is_what_git_lists(tmp_path: Path) -> None:
    """Everything that rev-list names, and hardly more; git takes the pack, and finds nothing wrong in it."""
    for seed in range(1000, 1006):
        case = case_of(seed, tmp_path / str(seed))
        wants, haves = case.some(case.tips, 1, 2), case.some(case.made.commits, 0, 2)
        listed = run(case.server.path, ["rev-list", "--objects", *wants, "--not", *haves]).decode().splitlines()
        understood = case.server.ask(
            "thin-pack", "ofs-delta", *(f"want {name}" for name in wants), *(f"have {name}" for name in haves), "done"
        )
        parcel, pack = case.server.parcel(understood)
        reader = tmp_path / f"reader{seed}"
        run(tmp_path, ["init", "-q", str(reader)])
        had = run(case.server.path, ["pack-objects", "--revs", "--stdout", "-q"], "\n".join(haves).encode())
        for sent in (had, pack):
            run(reader, ["index-pack", "--stdin", "--fix-thin", "--strict"], sent)
        stored = run(reader, ["cat-file", "--batch-check=%(objectname)", "--batch-all-objects"]).decode().split()
        assert {line.split()[0] for line in listed} <= set(stored)
        assert parcel.objects <= len(listed) + 5
        assert run(reader, ["fsck", "--strict", "--no-dangling", *wants]) == b""


def case_of(seed: int, path: Path) -> Case:
    """One that git sees, too."""
    case = Case.of(seed, path)
    (path / "refs").mkdir(exist_ok=True)
    (path / "HEAD").write_text("ref: refs/heads/0\n")
    return case
