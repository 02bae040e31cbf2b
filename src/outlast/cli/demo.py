"""``outlast demo``"""


def demo() -> None:
    """Later."""
