"""Whether this JAX takes the structures of two dataclasses for equal (0.10 does, 0.8 does not)."""

from dataclasses import make_dataclass

import jax
import pytest


def _structure(name):
    kind = make_dataclass(name, [("number", float)], frozen=True)
    return jax.tree.structure(jax.tree_util.register_dataclass(kind, ["number"], [])(1.0))


jax_confuses_dataclasses = pytest.mark.skipif(
    _structure("One") != _structure("Other"), reason="this JAX tells dataclasses apart"
)
