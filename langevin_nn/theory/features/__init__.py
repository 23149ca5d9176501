"""Theories in which a hidden unit's distribution changes: features are learned."""
