"""The mutex watershed of a box: its edges in order, the kernel, and what a box can be sure of."""
