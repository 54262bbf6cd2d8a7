"""The ways to run one update: recorded by autograd, with explicit gradients, compiled, on a GPU as a graph.

:func:`sac_dist.execution.choose.choose` picks one.
"""
