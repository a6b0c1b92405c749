"""How good a segmentation or a denoised image is."""
