"""Volumes to train and test on, and how their sections are divided.

`description` says what a data set is, `published` knows those of the paper and two open ones,
`find` turns a name or a YAML file into a checked data set.
"""

from emds.datasets.description import Dataset
from emds.datasets.find import PUBLISHED, check_dataset, find_dataset

__all__ = ["PUBLISHED", "Dataset", "check_dataset", "find_dataset"]
