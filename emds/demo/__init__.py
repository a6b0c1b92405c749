"""A small EM-like volume with ground truth, and the page that shows what emds makes of it."""
