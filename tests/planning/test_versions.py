"""Version ranges: npm's published cases (npm_cases.md), what differs, and npm itself where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.invalid import Invalid
from deployd.planning.versions import MAX_RANGE, version_range
from tests.conftest import require

CASES: dict[str, list[list[Any]]] = json.loads(Path(__file__).with_name("npm_cases.json").read_text())

# npm's `loose` mode reads these too; here a range that npm refuses without it is refused.
ONLY_LOOSE = {
    "1.2.3pre+asdf - 2.4.3-pre+asdf",
    "1.2.3-pre+asdf - 2.4.3pre+asdf",
    "1.2.3pre+asdf - 2.4.3pre+asdf",
    "~ 1.0.3alpha",
    ">01.02.03",
    "~1.2.3beta",
    "== 1.0.0 || foo",
}

SAMPLES = [
    f"{core}{rest}"
    for core in ("0.0.0", "0.0.1", "0.0.2", "0.1.0", "0.1.2", "0.2.0", "0.1.97", "0.7.0", "0.7.2", "0.8.0", "1.0.0")
    + ("1.2.0", "1.2.3", "1.2.4", "1.3.0", "1.9999.9999", "2.0.0", "2.0.1", "2.1.0", "2.4.0", "2.4.3", "2.5.0", "3.0.0")
    + ("3.2.1", "3.2.2", "3.3.0", "3.4.5", "3.4.6", "3.5.0", "7.9.9")
    for rest in ("", "-0", "-alpha", "-beta", "-beta.4", "-pre.2")
]


def takes(wanted: str, version: str) -> bool:
    return version_range(wanted).takes(version)


def is_valid(wanted: str) -> bool:
    try:
        version_range(wanted)
    except Invalid:
        return False
    return True


class PublishedTests(SynchronousTestCase):
    """npm's own cases. The third word is the option under which npm says so."""

    def test_versions_that_npm_takes_are_taken(self) -> None:
        for wanted, version, *option in CASES["include"]:
            if option == ["includePrerelease"]:
                # There is no such option: prereleases are asked for by naming one.
                self.assertFalse(takes(wanted, version), (wanted, version))
            elif wanted in ONLY_LOOSE:
                self.assertFalse(is_valid(wanted), wanted)
            else:
                self.assertTrue(takes(wanted, version), (wanted, version))

    def test_versions_that_npm_leaves_out_are_left_out(self) -> None:
        for wanted, version, *_ in CASES["exclude"]:
            if wanted in ONLY_LOOSE:
                self.assertFalse(is_valid(wanted), wanted)
            else:
                self.assertFalse(takes(wanted, version), (wanted, version))

    def test_ranges_mean_what_npm_makes_of_them(self) -> None:
        for wanted, canonical, *option in CASES["parse"]:
            if option == ["includePrerelease"]:
                continue
            if canonical is None or wanted in ONLY_LOOSE:
                self.assertFalse(is_valid(wanted), wanted)
                continue
            for version in SAMPLES:
                self.assertEqual(takes(wanted, version), takes(canonical, version), (wanted, canonical, version))

    def test_versions_are_ordered_as_npm_orders_them(self) -> None:
        for greater, less, *_ in CASES["greater"]:
            self.assertTrue(takes(f">{less}", greater), (greater, less))
            self.assertFalse(takes(f"<={less}", greater), (greater, less))
            self.assertFalse(takes(f">={greater}", less), (greater, less))


class RangeTests(SynchronousTestCase):
    def test_a_prerelease_is_only_in_a_range_that_names_one_of_its_version(self) -> None:
        self.assertTrue(takes("^1.2.3-alpha", "1.2.3-beta"))
        self.assertTrue(takes("^1.2.3-alpha", "1.9.0"))
        self.assertFalse(takes("^1.2.3-alpha", "1.2.4-beta"))
        self.assertFalse(takes("^1.0.0", "1.2.3-beta"))
        self.assertFalse(takes("*", "1.2.3-beta"))
        self.assertTrue(takes("=1.2.3-beta", "1.2.3-beta"))
        self.assertFalse(takes("^1.2.3 >=2.0.0-alpha", "2.0.0-beta"))
        self.assertTrue(takes("<=2.0.0 >=2.0.0-alpha", "2.0.0-beta"))

    def test_what_no_prerelease_of_itself_means_for_releases(self) -> None:
        self.assertTrue(takes(">1.2.3-alpha", "1.2.3"))
        self.assertFalse(takes("<=2.4.3-pre", "2.4.3"))
        self.assertTrue(takes("~0.5.0-pre", "0.5.7"))

    def test_beside_a_star_no_prerelease_is_named(self) -> None:
        self.assertFalse(takes("^1.0.0-beta || *", "1.0.0-beta"))
        self.assertTrue(takes("^1.0.0-beta *", "1.0.0-beta"))

    def test_a_v_and_the_build_do_not_count(self) -> None:
        self.assertTrue(takes("^v1.2", "v1.2.3"))
        self.assertTrue(takes("=1.2.3+one", "1.2.3+two"))

    def test_no_semantic_version_is_in_no_range(self) -> None:
        for version in ("", "1", "1.2", "latest", "01.2.3", "1.2.3.4", "1.2.3\n", " 1.2.3", "१.2.3", "1.2.3-01"):
            self.assertFalse(takes("*", version), version)
        self.assertFalse(takes("*", f"{2**53}.0.0"))
        self.assertTrue(takes("*", f"{2**53 - 1}.0.0"))

    def test_what_is_no_range_is_told_in_one_sentence(self) -> None:
        for wanted in (
            "latest",
            ">=",
            "1 -",
            "- 1",
            "1.2.3.4",
            "1..2",
            "^^1",
            "~^1",
            "1 - 2 3",
            ">1 - 2",
            "a||b",
            "1,2",
        ):
            with self.assertRaisesRegex(Invalid, "is not a version range"):
                version_range(wanted)
        for wanted in ("1.x.3", "x.1", f">={2**53}", "v", "1.2.3-", "1.2-a", "1.2.3-01", "१"):
            with self.assertRaises(Invalid):
                version_range(wanted)
        with self.assertRaisesRegex(Invalid, "at most 200 characters"):
            version_range("1" * (MAX_RANGE + 1))

    @given(st.text(max_size=MAX_RANGE) | st.text("0123456789.xX*<>=~^v|- +ab", max_size=MAX_RANGE), st.text())
    def test_any_text_is_a_range_or_invalid(self, wanted: str, version: str) -> None:
        if is_valid(wanted):
            takes(wanted, version)
            takes(wanted, "1.2.3")

    def test_the_longest_ranges_are_read_at_once(self) -> None:
        pieces = (
            "=",
            "v",
            " ",
            "|",
            "||",
            "0",
            "1",
            "1.",
            "1-",
            "-",
            "+",
            "+a",
            "+a.",
            "> ",
            "~",
            "x.",
            "1.2.3-",
            "a.",
        )
        for piece in pieces:
            for end in ("", "!"):
                wanted = (f"1.2.3{piece}" + piece * MAX_RANGE)[: MAX_RANGE - 1] + end
                began = time.process_time()
                is_valid(wanted)
                self.assertLess(time.process_time() - began, 0.05, wanted)


class Writer:
    """Writes ranges as people do and a little beyond, and versions near them."""

    def __init__(self, seed: int) -> None:
        self._one = Random(seed).choice

    def number(self) -> str:
        return self._one(["0", "1", "2", "3", "10"])

    def version(self) -> str:
        core = ".".join((self.number(), self.number(), self.number()))
        prerelease = self._one(["", "", "", "-0", "-alpha", "-beta", "-beta.2", "-beta.11", "-1", "-a-b", "-rc.1+b.5"])
        return self._one(["", "", "", "v"]) + core + prerelease

    def partial(self) -> str:
        x = self._one(["x", "X", "*"])
        few = [self.number(), x, f"{self.number()}.{self.number()}", f"{self.number()}.{x}", f"{self.number()}.{x}.{x}"]
        return self._one([self.version(), self.version(), self._one([*few, f"{self.number()}.{self.number()}.{x}"])])

    def comparator(self) -> str:
        signs = ["", "", "=", "<", "<=", ">", ">=", "~", "~>", "^", "~> ", ">= ", "< ", "^ ", ">=\t", "^^", "=>"]
        return self._one(signs) + self.partial()

    def together(self) -> str:
        several = " ".join(self.comparator() for _ in range(self._one([1, 1, 2, 3])))
        return self._one([several, several, several, f"{self.partial()} - {self.partial()}", ""])

    def range(self) -> str:
        return self._one(["||", " || "]).join(self.together() for _ in range(self._one([1, 1, 1, 2, 3])))


NPM = """
const {existsSync, realpathSync} = require('fs')
// The semver that npm itself uses: Debian keeps it beside npm, all others below it.
const debian = '/usr/share/nodejs/semver'
const npm = realpathSync(process.argv[1])
const {satisfies, validRange} = require(existsSync(debian) ? debian : require.resolve('semver', {paths: [npm]}))
let text = ''
process.stdin.on('data', d => text += d)
process.stdin.on('end', () => process.stdout.write(JSON.stringify(
  JSON.parse(text).map(([range, version]) => validRange(range) === null ? null : satisfies(version, range)))))
"""


@require("node", "npm")
def test_npm_itself_says_the_same() -> None:
    """One node process judges a few thousand generated pairs."""
    writer = Writer(seed=5)
    pairs = [(writer.range(), writer.version()) for _ in range(200_000 if os.environ.get("DEPLOYD_SOAK") else 5000)]
    asked = subprocess.run(
        ["node", "-e", NPM, str(shutil.which("npm"))],
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        check=True,
    )
    npm = json.loads(asked.stdout)
    assert {True, False, None} <= set(npm)
    ours = [takes(wanted, version) if is_valid(wanted) else None for wanted, version in pairs]
    assert [found for found in zip(pairs, npm, ours, strict=True) if found[1] != found[2]] == []
