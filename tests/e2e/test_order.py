"""Order is the promise: whatever is done, and whatever dies, no request fails."""

from __future__ import annotations

import os
import random

from tests.e2e.cluster import Cluster
from tests.e2e.operations import APP, Town, chosen

SOAK = bool(os.environ.get("DEPLOYD_SOAK"))
COUNT = 200 if SOAK else 9


def test_no_request_fails_whatever_is_done(cluster: Cluster) -> None:
    seed = int(os.environ.get("DEPLOYD_SEED", random.randrange(10**6)))
    print(f"DEPLOYD_SEED={seed}")
    chance = random.Random(seed)
    town = Town(cluster, chance, 3 if SOAK else 2, "--", "python3", "-S", "-E", "app.py")
    town.open({"app.py": APP}, {"v1": 1, "v2": 1})
    with town.under_load("--slow", "4" if SOAK else "1"):
        for deed in chosen(chance, COUNT):
            deed(town)
    assert {record.method for record in town.records} == {"GET", "POST"}
