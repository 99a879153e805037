"""The package's version, of which every wing may tell."""

__version__ = "0.2.0"
