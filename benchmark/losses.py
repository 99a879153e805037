"""The address of :mod:`benchmark.parts.losses` in earlier versions, for plug-ins that import it."""

from benchmark.parts.losses import central_moment_discrepancy, jensen_shannon_information, reverse_gradient

__all__ = ["central_moment_discrepancy", "jensen_shannon_information", "reverse_gradient"]
