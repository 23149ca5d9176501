"""Where sampling and theory meet: estimates from draws, diagnostics, comparison."""
