"""Measurements of Outlast against its peers: ``python -m bench``."""
