"""Models to npz files and back without pickle: what holds what as JSON, arrays as arrays.

Reading runs no code that the file chooses: the names in it are looked up among spikax's and JAX's
public functions, scikit-learn's splitters and in what the caller hands over, and nowhere else.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from importlib.metadata import version
from inspect import signature
from math import prod
from os import PathLike, fspath
from typing import Any
from zipfile import BadZipFile

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit

from spikax import links, observation_models, regularizer

# Raise it when files of this version would be misread by the last.
FORMAT = 1

_OWN = (regularizer, observation_models, links)
_STATS = (jax.scipy.stats.norm, jax.scipy.stats.logistic, jax.scipy.stats.cauchy)
_PUBLIC = (*_OWN, jax.numpy, jax.nn, jax.lax, jax.scipy.special, *_STATS)
_OBJECTS = bool | int | float | str | np.bool_ | np.number  # what arrays of objects may hold
# How a fit went, the samples that `partial_fit` goes on from, and what has a place of its own.
_NOT_SAVED = ("solver_state_", "_memory", "_metadata_request")


def write(filename: Any, model: Any) -> None:
    """Write a model, fitted or not; all is encoded before a file is opened."""
    arrays: dict[str, np.ndarray] = {}
    params = model.get_params(deep=False)
    fitted = {k: v for k, v in vars(model).items() if k not in {*params, *_NOT_SAVED}}
    header = {
        "format": FORMAT,
        "spikax": version("spikax"),
        "model": name_of(type(model)),
        "params": {k: _encode(v, k, arrays) for k, v in params.items()},
        "fitted": {k: _encode(v, k, arrays) for k, v in fitted.items()},
        "routing": _routing(model),
    }
    if not isinstance(filename, str | PathLike) and not hasattr(filename, "write"):
        raise TypeError(f"filename must be a path or a binary file, got {filename!r}.")
    np.savez(filename, spikax_model=np.array(json.dumps(header)), **arrays)  # pyright: ignore


def _routing(model: Any) -> dict[str, dict[str, bool | str]]:
    """Tell what scikit-learn was asked to route to each method."""
    setters = (name for name in dir(model) if name.startswith("set_"))
    methods = (n.removeprefix("set_").removesuffix("_request") for n in setters)
    routing = BaseEstimator.get_metadata_routing(model)  # its own, not that of a splitter
    asked = {m: getattr(routing, m).requests for m in methods if m in vars(routing)}
    asked = {m: {k: v for k, v in of.items() if v is not None} for m, of in asked.items()}
    return {method: of for method, of in asked.items() if of}


def name_of(thing: Any) -> str:
    """Name a function or a class by where it is public, else by where it was defined."""
    for module in _PUBLIC:
        if getattr(module, thing.__name__, None) is thing:
            return f"{module.__name__}.{thing.__name__}"
    public = [part for part in thing.__module__.split(".") if not part.startswith("_")]
    module = ".".join(public) if public[:1] in (["spikax"], ["sklearn"]) else thing.__module__
    return f"{module}.{getattr(thing, '__qualname__', thing.__name__)}"


def _encode(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    """Make JSON of a value; its arrays go to `arrays`, and are numbered."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        items = [_encode(v, f"{where}[{i}]", arrays) for i, v in enumerate(value)]
        return {type(value).__name__: items}
    if type(value) is dict:
        return {
            "dict": [
                [_encode(k, f"a key of {where}", arrays), _encode(v, f"{where}[{k!r}]", arrays)]
                for k, v in value.items()
            ]
        }
    if isinstance(value, links.InverseLink) and value in links.INVERSE_LINKS:
        return {"link": value.name}
    kept = is_dataclass(value) or isinstance(value, BaseCrossValidator | BaseShuffleSplit)
    if kept and not isinstance(value, type):
        return _encode_object(value, where, arrays)
    if callable(value) and hasattr(value, "__name__"):
        return {"function": name_of(value)}
    return _encode_array(value, where, arrays)


def _encode_object(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    nodes = {}
    for name in signature(type(value)).parameters:
        if not hasattr(value, name):
            raise TypeError(
                f"{where} cannot be saved: the constructor of {type(value).__name__} takes "
                f"{name}, which its objects do not keep under that name."
            )
        nodes[name] = _encode(getattr(value, name), f"{where}.{name}", arrays)
    return {"object": name_of(type(value)), "fields": nodes}


def _encode_array(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value) if hasattr(value, "__array__") else np.array(None)
    kind = "scalar" if isinstance(value, np.generic) else "array"
    if array.dtype == object and all(isinstance(x, _OBJECTS) for x in array.flat):
        items = [_encode(x, where, arrays) for x in array.flat]
        return {"objects": items, "shape": array.shape}
    if array.dtype.kind not in "biufcUSmM":
        raise TypeError(
            f"{where} cannot be saved: it is {value!r:.60} of type {type(value).__name__}. Files "
            "hold numbers, text, arrays of these, dicts, lists, tuples, functions and classes by "
            "their names, and frozen dataclasses."
        )
    name = f"array_{len(arrays)}"
    arrays[name] = array
    return {kind: name}


@dataclass(frozen=True)
class Saved:
    """What a file holds, still encoded."""

    filename: str
    version: str
    model: str
    params: dict[str, Any]
    fitted: dict[str, Any]
    routing: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def values(self, nodes: dict[str, Any], find: Callable) -> dict[str, Any]:
        """Decode, with `find(where, name, fields)` for functions and, by their class, objects."""
        try:
            return {name: self._decode(node, name, find) for name, node in nodes.items()}
        except (KeyError, TypeError, RecursionError) as error:
            raise damaged(self.filename, f"{type(error).__name__}: {error}") from error

    def _decode(self, node: Any, where: str, find: Callable) -> Any:
        if node is None or isinstance(node, bool | int | float | str):
            return node
        match list(node.items()) if isinstance(node, dict) else None:
            case [("list" | "tuple" as kind, list(nodes))]:
                items = (self._decode(n, f"{where}[{i}]", find) for i, n in enumerate(nodes))
                return list(items) if kind == "list" else tuple(items)
            case [("dict", list(pairs))]:
                keys = [self._decode(key, f"a key of {where}", find) for key, _ in pairs]
                items = zip(keys, pairs, strict=True)
                return {k: self._decode(n, f"{where}[{k!r}]", find) for k, (_, n) in items}
            case [("array", str(name))]:
                return self.arrays[name]
            case [("scalar", str(name))]:
                return self.arrays[name][()]
            case [("objects", list(nodes)), ("shape", list(shape))] if prod(shape) == len(nodes):
                array = np.empty(len(nodes), object)
                array[:] = [self._decode(n, where, find) for n in nodes]
                return array.reshape(shape)
            case [("link", str(name))]:
                return links.resolve(name)
            case [("function", str(name))]:
                return find(where, name, None)
            case [("object", str(name)), ("fields", dict(held))]:
                made = {k: self._decode(n, f"{where}.{k}", find) for k, n in held.items()}
                return find(where, name, made)
        raise damaged(self.filename, f"{where} is {node!r:.60}")


def public(name: str) -> Any:
    """Find a public function or class of spikax's or JAX's by its name, or None."""
    module, _, attribute = name.rpartition(".")
    for known in _PUBLIC:
        found = getattr(known, attribute, None) if known.__name__ == module else None
        root = (getattr(found, "__module__", None) or "").split(".")[0]
        if callable(found) and root in ("jax", "spikax"):
            return found
    return None


def read(filename: Any) -> Saved:
    """Read a file that `write` wrote, whole, or say what is wrong with it."""
    if not isinstance(filename, str | PathLike):
        raise TypeError(f"The file must be given by its path, got {filename!r}.")
    shown = str(fspath(filename))
    with open(filename, "rb") as file:
        try:
            content = np.load(file, allow_pickle=False)
            arrays = {k: content[k] for k in content.files}
        except _UNREADABLE as error:
            raise damaged(shown, str(error) or type(error).__name__) from error
    if "spikax_model" not in arrays:
        raise ValueError(
            f"{shown} holds no model of spikax's: it was not written by save_params. It has the "
            f"arrays {', '.join(arrays) or 'of an empty file'}."
        )
    try:
        header = json.loads(str(arrays.pop("spikax_model")))
    except (ValueError, RecursionError) as error:
        raise damaged(shown, str(error)) from error
    match header:
        case {"format": int(number), "spikax": str(by)} if number > FORMAT:
            raise ValueError(
                f"{shown} was written by spikax {by} in format {number}, and spikax "
                f"{version('spikax')} reads formats up to {FORMAT}: upgrade spikax."
            )
        case {
            "format": int(),
            "spikax": str(by),
            "model": str(model),
            "params": dict(params),
            "fitted": dict(fitted),
            **rest,
        }:
            return Saved(shown, by, model, params, fitted, rest.get("routing", {}), arrays)
    raise damaged(shown, f"its header is {header!r:.60}")


# What NumPy and the ZIP reader raise for files that end early, or are something else.
_UNREADABLE = (
    ValueError,
    EOFError,
    OSError,
    KeyError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    BadZipFile,
    zlib.error,
)


def damaged(filename: str, reason: str) -> ValueError:
    """Build the error for a file that cannot be what `write` wrote."""
    return ValueError(
        f"{filename} cannot be read as a model that save_params wrote: {reason.rstrip('.')}. It "
        "may be truncated, damaged, or of another program."
    )
