"""Effective actions of order parameters, and their minima."""
