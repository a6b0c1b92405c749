"""The mutex watershed of a volume of any size, block by block, exactly."""
