"""Exceptions that users catch: scikit-learn's `NotFittedError`, a ValueError and AttributeError.

>>> import spikax as nmo
>>> try:
...     nmo.glm.GLM().predict([[1.0]])
... except nmo.exceptions.NotFittedError:
...     print("not fitted")
not fitted
"""

from sklearn.exceptions import NotFittedError

__all__ = ["NotFittedError"]
