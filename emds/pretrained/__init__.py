"""The checkpoint that ships with emds."""
