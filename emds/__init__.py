"""Joint denoising and neuron segmentation of electron-microscopy volumes of any size."""

__version__ = "0.1.0"
