"""The runtime API of Python functions. It works by itself, too: in a unit test, or as `python main.py`."""
