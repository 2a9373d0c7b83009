"""What `pip install .` puts on a machine: the plugins, deployctl, the demo's apps, and no tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.e2e.cluster import PYTHON_ENVIRONMENT

TOP = Path(__file__).parents[2]
LIST = "from twisted.plugin import getPlugins as g; from twisted.application.service import IServiceMaker as I;"
LIST += "import deployd; print(deployd.__file__, *sorted(p.tapname for p in g(I) if p.tapname.startswith('deployd')))"


def test_a_wheel_has_all_that_is_needed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(TOP), str(source)], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "twisted/plugins/deployd_plugins.py" in names
    assert "deployd/cli/examples/beep-boop-python/http.py" in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "twisted/__init__"))]
    done = subprocess.run(
        [sys.executable, "-c", LIST],
        cwd=tmp_path,
        env=PYTHON_ENVIRONMENT | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    place, *plugins = done.stdout.split()
    assert place.startswith(str(tmp_path))
    assert set(plugins) == {"deployd-drone", "deployd-hub", "deployd-registry", "deployd-router"}
