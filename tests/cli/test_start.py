"""deployctl starts fast because it imports no more than it uses."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

HEAVY = ("cattrs", "rich", "OpenSSL", "cryptography", "twisted.web", "twisted.application", "dulwich", "psutil")
REPORT = """
import sys
from deployd.cli.main import run
run(sys.argv[1:])
print(*(name for name in ("twisted", "attr", "click", *{heavy!r}) if sys.modules.get(name) is not None))
"""


def imported(*arguments: str) -> set[str]:
    """Which of these packages deployctl has imported at the end of a command."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(heavy=HEAVY), *arguments],
        env={"LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


class StartTests(SynchronousTestCase):
    def test_the_version_and_help_need_click_only(self) -> None:
        self.assertEqual(imported("--version"), {"click"})
        self.assertEqual(imported("--help"), {"click"})

    def test_wrong_usage_is_told_without_twisted(self) -> None:
        self.assertEqual(imported("deploy", "../x", "master") - {"attr"}, {"click"})

    def test_readers_of_the_port_table_import_nothing_heavy(self) -> None:
        """The registry refuses; by then all that they need is there."""
        for verb in ("ports", "query", "watch"):
            self.assertEqual(imported("--registry", "127.0.0.1:1", verb), {"click", "attr", "twisted"})

    def test_deploy_imports_nothing_heavy_either(self) -> None:
        found = imported("--hub", "127.0.0.1:1", "--secret", "x", "deploy", "webapp", "master")
        self.assertEqual(found, {"click", "attr", "twisted"})

    def test_a_tls_address_gets_its_tls(self) -> None:
        found = imported("--registry", "tls:127.0.0.1:1", "ports")
        self.assertLessEqual({"OpenSSL", "cryptography"}, found)
