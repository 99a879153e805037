#!/usr/bin/env python3
"""The door: ``python run_benchmark.py`` is the command line of :mod:`benchmark.cli`."""

import sys

from benchmark.cli import main

if __name__ == "__main__":
    sys.exit(main())
