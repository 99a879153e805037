"""``python -m tests.faults.plain`` is ``run_benchmark.py``, but its report stops at scores, statistics and manifest.

What is imported here is imported by each of its workers too.
"""

import sys

if __name__ == "__main__":
    from tests.faults.runs import main

    sys.exit(main(sys.argv[1:], pictures=False))
