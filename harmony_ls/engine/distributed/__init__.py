"""Several processes that share the weights of one model, and take its steps together."""
