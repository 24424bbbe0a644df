"""Labels of any kind, as indices of their classes, and back."""

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from spikax._time_series import like, raw


def find_classes(y: Any, n_classes: int) -> np.ndarray | None:
    """Sort the classes of labels; None if there are not `n_classes` of them."""
    array = _as_array(y)
    present = array[~is_missing(array)]
    if present.dtype.kind == "f":
        check_classification_targets(present.ravel())
    try:
        classes = np.unique(present)
    except TypeError as error:
        raise TypeError(f"y holds labels of several types ({error}): use one type.") from error
    return classes if len(classes) == n_classes else None


def wrong_number(y: Any, n_classes: int) -> ValueError:
    """Build the error for labels of too many or too few classes."""
    array = _as_array(y)
    classes = np.unique(array[~is_missing(array)])
    binary = "Only binary classification is supported. " if n_classes == 2 < len(classes) else ""
    return ValueError(
        f"{binary}y has {len(classes)} classes ({_some(classes)}), but n_classes={n_classes}. Set "
        "n_classes to their number; if y lacks some, name all of them with set_classes first."
    )


def encode(y: Any, classes: np.ndarray) -> Any:
    """Give the index of each label's class, NaN where it is missing, with the times of `y`."""
    array = _as_array(y)
    unlabelled = is_missing(array)
    present = array[~unlabelled]
    unknown = ~np.isin(present, classes)
    if unknown.any():
        raise ValueError(
            f"y holds the label {present[unknown].tolist()[0]!r}, which is none of the classes "
            f"({_some(classes)}). Fit the model to all classes, or leave these samples out."
        )
    indices = np.full(array.shape, np.nan)
    indices[~unlabelled] = np.searchsorted(classes, present)
    return like(indices, y)


def decode(indices: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Give each index as the label of its class, and NaN as NaN."""
    missing = np.isnan(indices)
    labels = classes[np.where(missing, 0, indices).astype(int)]
    if missing.any():
        labels = labels.astype(float if classes.dtype.kind in "fiub" else object)
        labels[missing] = np.nan
    return labels


def _as_array(y: Any) -> np.ndarray:
    array = np.asarray(raw(y, "y"))
    if array.ndim == 0:
        raise TypeError(f"y must be an array of labels, got {type(y).__name__}.")
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: y has dtype {array.dtype}.")
    if array.dtype.kind not in "fiubUSO":
        raise TypeError(f"y must hold labels, numbers or text, got dtype {array.dtype}.")
    if array.dtype.kind == "f" and np.isinf(array).any():
        row = np.argwhere(np.isinf(array))[0][0]
        raise ValueError(f"y is infinite in row {row}; NaN marks a label that is missing.")
    return array


def is_missing(array: np.ndarray) -> np.ndarray:
    """Mark the labels that are NaN or None."""
    if array.dtype.kind == "f":
        return np.isnan(array)
    if array.dtype.kind == "O":
        flags = [label is None or label != label for label in array.ravel()]
        return np.array(flags, bool).reshape(array.shape)
    return np.zeros(array.shape, bool)


def _some(classes: np.ndarray) -> str:
    shown = ", ".join(repr(label) for label in classes[:5].tolist())
    return shown + (", ..." if len(classes) > 5 else "")
