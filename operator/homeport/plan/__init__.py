"""Pure planning: what is wanted, compared with what is there, gives changes. No clock, random, environment, network."""
