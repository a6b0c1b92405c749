"""Affinities, and the mutex watershed that turns them into labels.

`phases` is the way from a `store` of affinities to labels; `labellers` find the segments, the
mutex watershed (`watershed`) block by block (`blockwise`), and `after` mends them. `affinities`,
`settings`, `store` and `labeller` need NumPy alone, the others load numba.
"""
