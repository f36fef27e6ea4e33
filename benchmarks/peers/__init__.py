"""Other wave solvers, each set up in a few lines on the problems of `problems`, for benchmarks and tests."""
