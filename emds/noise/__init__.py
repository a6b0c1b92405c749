"""Noise models, and random numbers keyed by position."""
