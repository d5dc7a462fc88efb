"""Samples made elsewhere: read, checked, and measured as those of a run."""
