"""Measures of the three corners: arrays in, numbers out."""
