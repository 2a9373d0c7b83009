"""What holds for the properties of all tests, whoever runs them."""

import os

from hypothesis import HealthCheck, settings

# On a busy machine a property is slow, and not wrong. `make soak` tries each more often.
examples = 300 if os.environ.get("DEPLOYD_SOAK") else 50
settings.register_profile("deployd", deadline=None, max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("deployd")
