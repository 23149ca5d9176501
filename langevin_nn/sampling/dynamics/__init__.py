"""Dynamics: one step of many chains, and what a warm-up adapts of it."""
