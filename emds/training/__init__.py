"""Patches, augmentation, recipes, and the training loop."""
