"""The limit T → 0: gradient flow, minima, and regression on features that are not trained."""
