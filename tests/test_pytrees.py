"""Laws of values that are pytrees: JAX tells their kinds apart, as its caches of programs must."""

from itertools import combinations

import jax
import pytest

from spikax import observation_models, regularizer, solvers

FAMILIES = [make().family for make in observation_models.OBSERVATION_MODELS.values()]
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
