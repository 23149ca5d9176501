"""The engine that runs a dynamics: one compiled program, in chunks, with checkpoints."""
