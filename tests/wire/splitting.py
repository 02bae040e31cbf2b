"""A stream as it may arrive."""

import itertools


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut at these places, counted from the beginning again beyond the end. Pieces may be empty."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]
