"""Waiting for what another process or thread does.

How long that takes is no matter of the tests, which run on machines that are busy with other things. A limit is there to
end what hangs.
"""

import time
from collections.abc import Callable

HUNG = 600.0
"""Seconds after which what is waited for will not come."""


def wait_for(condition: Callable[[], object], what: str = "it has not happened") -> None:
    """Come back when the condition holds; AssertionError with `what` where it never does."""
    deadline = time.monotonic() + HUNG
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
