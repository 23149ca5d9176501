"""How it is sampled: dynamics, and the driver that runs many chains of one."""
