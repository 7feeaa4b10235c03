"""What benchmarks measure, and the weights that they measure it with. Nothing that a person talks to."""
