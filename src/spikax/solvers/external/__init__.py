"""Algorithms of other libraries."""
