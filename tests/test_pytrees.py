"""Laws of values that are pytrees: JAX tells their kinds apart, as its caches of programs must."""

from dataclasses import make_dataclass
from itertools import combinations

import jax
import pytest

from spikax import observation_models, regularizer, solvers
from spikax._pytrees import adopt

FAMILIES = [make() for make in observation_models.OBSERVATION_MODELS.values()]
NATIVE = [
    solvers.make_solver(name, {}, regularizer.UnRegularized())
    for name in ("WhitenedLBFGS", "Newton", "SVRG", "ProxSVRG", "ProximalQuasiNewton")
]


@pytest.mark.parametrize("values", [FAMILIES, NATIVE], ids=["families", "solvers"])
def test_no_two_kinds_have_one_structure(values):
    for one, other in combinations(map(jax.tree.structure, values), 2):
        assert one != other


@pytest.mark.parametrize("value", [*FAMILIES, *NATIVE], ids=lambda value: type(value).__name__)
def test_a_value_survives_its_flattening(value):
    leaves, structure = jax.tree.flatten(value)
    again = structure.unflatten(leaves)
    assert again == value
    assert jax.tree.structure(again) == structure


def test_dataclasses_of_a_user_are_told_apart():
    values = [make_dataclass(name, [("number", float)], frozen=True)(2.0) for name in "AB"]
    for value in values:
        adopt(value)
    one, other = map(jax.tree.structure, values)
    assert one != other
    assert jax.tree.leaves(values) == [2.0, 2.0]


def test_what_a_user_registered_node_by_node_stays():
    kind = make_dataclass("Own", [("number", float)], frozen=True)
    jax.tree_util.register_pytree_node(kind, lambda v: ((v.number,), None), lambda _, c: kind(*c))
    adopt(kind(1.0))
    assert jax.tree.leaves(kind(3.0)) == [3.0]
