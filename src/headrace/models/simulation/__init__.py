"""A deterministic simulator that drives the production router: same seed, same settings, same result."""
