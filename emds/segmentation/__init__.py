"""Affinities, and the mutex watershed that turns them into labels."""
