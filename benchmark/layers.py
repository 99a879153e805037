"""The address of :mod:`benchmark.parts` in earlier versions, for plug-ins that import it."""

from benchmark.parts import *  # noqa: F403
