"""The command line: options, progress, tables. The only code that speaks to a terminal."""
