"""Faults caused on purpose: what is promised of crashes, storage, inputs and names, tried many times.

``make faults`` runs all of it and writes what it found to ``README.md`` here; ``make test`` runs a short selection. Each
module in ``MODULES`` of ``__main__.py`` has a function ``trials(work, scale)`` that yields a :class:`Trial` for each kind
of fault; the tests beside it call the same functions with a small `scale` and assert that nothing was lost.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One kind of fault: a row of the table.

    Parameters
    ----------
    fault : str
        What was done, in a few words.
    times : int
        How often it was caused.
    lost : str
        What was lost, or went through that should not have, in a few words; empty: nothing.
    said : str
        A line that was said then; empty where nothing is said.
    """

    fault: str
    times: int
    lost: str
    said: str
