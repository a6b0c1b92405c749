"""Everything that opens a path: zarr, OME-Zarr, HDF5, TIFF and slice folders."""
