"""Gaussian regression with a decomposed Gram matrix, and the moments it gives."""
