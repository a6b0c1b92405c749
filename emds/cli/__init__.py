"""The command line: options, progress, tables."""
