"""The ways to run one update: recorded by autograd, written out by hand, compiled, or as a CUDA graph."""
