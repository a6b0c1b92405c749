"""One file for each way from affinities to segments, see `emds.segmentation.labeller`."""
