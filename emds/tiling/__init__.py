"""One global tile grid, blending, and tiled prediction."""
