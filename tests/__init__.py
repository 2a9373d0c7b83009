"""What holds for the properties of all tests, whoever runs them."""

from hypothesis import settings

# On a busy machine a property is slow, and not wrong.
settings.register_profile("deployd", deadline=None)
settings.load_profile("deployd")
