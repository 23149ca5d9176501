"""Effective theories: infinite width, and those of finite width."""
