"""An app of two services, two releases of it half and half: a chain of requests stays within its release.

The registry is private: the services find each other by the URL that they are given, and routers know the secret.
"""

from __future__ import annotations

import os
import random

from tests.e2e.cluster import Cluster
from tests.e2e.operations import APP, Town

ROUNDS = 20 if os.environ.get("DEPLOYD_SOAK") else 1
PROCFILE = "http: exec python3 -S -E app.py chain\nsay: exec python3 -S -E app.py\n"


def test_no_chain_ever_mixes_releases(private_cluster: Cluster) -> None:
    town = Town(private_cluster, random.Random(1), 2, roles=2)
    town.open({"app.py": APP, "Procfile": PROCFILE}, {"v1": 50, "v2": 50})
    with town.under_load("--posts", "0", "--slow", "2"):
        for _ in range(ROUNDS):
            one_round(town)
    chains = {(record.answer["release"], record.answer["said"]) for record in town.records}
    assert chains == {(f"v{number}", f"v{number}") for number in range(1, ROUNDS + 3)}


def one_round(town: Town) -> None:
    """A third release comes, the oldest goes while its last requests are on their way, and a machine is emptied."""
    oldest, newer = town.releases
    town.deploy()
    town.route({newer: 50, town.releases[-1]: 50})
    town.retire()
    assert oldest not in town.releases
    town.drain()
