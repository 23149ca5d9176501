"""Kernels of infinitely wide networks: NNGP, tangent, and pairs of patches."""
