"""Lazy training: networks whose kernel does not change."""
