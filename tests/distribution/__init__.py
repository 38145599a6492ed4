"""
What is built for others: sdist and wheel, and the wheel with each extra alone.

`make dist` and `make extras` run it, in an environment with the tools that it needs.
"""
