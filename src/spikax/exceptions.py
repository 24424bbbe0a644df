"""Exceptions that users catch."""

from sklearn.exceptions import NotFittedError

__all__ = ["NotFittedError"]
