"""Whatever dies, alone or with others, in peace or in the middle of something: all ends as people asked."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.conftest import require
from tests.e2e.cluster import Cluster
from tests.e2e.errands import AMID, OPERATIONS, deploy
from tests.e2e.misfortunes import HARMFUL, HARMLESS, befall_together, befalls, is_done, is_done_amid
from tests.e2e.village import Village

pytestmark = require("git")

SOAK = float(os.environ.get("DEPLOYD_SOAK_SECONDS", 300)) if os.environ.get("DEPLOYD_SOAK") else 0.0


@pytest.fixture
def village(cluster: Cluster) -> Iterator[Village]:
    seed = int(os.environ.get("DEPLOYD_SEED", random.randrange(10**6)))
    print(f"DEPLOYD_SEED={seed}")
    made = Village(cluster, random.Random(seed), 2)
    try:
        with made.deed("the first deploy"):
            deploy(made)
        yield made
        made.close()
    finally:
        made.drop()


@pytest.mark.skipif(bool(SOAK), reason="the long one has it all")
def test_a_bad_day_ends_well(village: Village) -> None:
    chance = village.chance
    for misfortune in (chance.choice(HARMLESS), chance.choice(HARMFUL)):
        befalls(village, misfortune)
    befall_together(village, *chance.sample(HARMLESS + HARMFUL, 2))
    is_done_amid(village, chance.choice(AMID), chance.choice(HARMLESS + HARMFUL))
    village.judge_logs()


@pytest.mark.skipif(not SOAK, reason="takes long: DEPLOYD_SOAK=1")
def test_a_bad_year_ends_well(village: Village) -> None:
    chance, end, rounds = village.chance, time.monotonic() + SOAK, 0
    while time.monotonic() < end:
        rounds += 1
        befalls(village, chance.choice(HARMLESS))
        befalls(village, chance.choice(HARMFUL))
        is_done(village, chance.choice(OPERATIONS))
        is_done_amid(village, chance.choice(AMID), chance.choice(HARMLESS + HARMFUL))
        befall_together(village, *chance.sample(HARMLESS + HARMFUL, 3))
        village.judge_logs()
    print(f"{rounds} rounds")
