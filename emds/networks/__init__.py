"""The denoiser, the segmenter, the fusion network with its attention, and checkpoints."""
