"""The address of :mod:`benchmark.methods` in earlier versions, for scripts that import it."""

from benchmark.methods import *  # noqa: F403
