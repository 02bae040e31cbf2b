"""What a worker process may touch, and how that is enforced: by the kernel, on the worker itself, before it runs any
code of a function.

Of the standard library alone, so that the small programs that start workers can load it.
"""
