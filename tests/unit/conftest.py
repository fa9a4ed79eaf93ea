"""Settings of Hypothesis for all unit tests."""

from hypothesis import settings

# A busy machine makes a single example slow now and then, which says nothing of the code.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
