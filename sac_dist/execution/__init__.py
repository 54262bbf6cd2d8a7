"""The ways to run one update: recorded by autograd, with explicit gradients, compiled, or on a GPU as a graph.

:func:`sac_dist.execution.choose.choose` picks one.
"""
