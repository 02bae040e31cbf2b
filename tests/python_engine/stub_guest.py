"""Stands for the guest: runs what the worker's folder holds in ``run.py``, with nothing of Outlast around it."""

import runpy


def main(folder: str) -> None:
    runpy.run_path(f"{folder}/run.py")
