"""Stands for the guest: runs what the worker's folder holds in ``run.py``, with nothing of Outlast around it."""

import runpy
from collections.abc import Callable


def main(folder: str, seal: Callable[[], None], *, keeps: bool) -> None:
    runpy.run_path(f"{folder}/run.py")
