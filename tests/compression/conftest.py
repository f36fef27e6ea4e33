"""Property tests without a time limit per example: a busy machine is not a failure."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
