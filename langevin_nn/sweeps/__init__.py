"""Grids of runs: what they are, where they lie, and how they are worked off."""
