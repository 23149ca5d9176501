"""How it is sampled: transitions, and the driver that runs many chains of them."""
