"""The baselines, one file a method; each has a card in ``cards/``."""
