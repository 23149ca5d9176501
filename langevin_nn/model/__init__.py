"""What is sampled: data, networks, the prior, the Gibbs posterior."""
