"""Generalized linear models for populations of neurons, on JAX."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikax import (
        basis,
        convolve,
        core,
        datasets,
        diagnostics,
        exceptions,
        fetch,
        glm,
        glm_hmm,
        hmm,
        identifiability_constraints,
        inference,
        io,
        links,
        model_selection,
        observation_models,
        plotting,
        regularizer,
        simulation,
        solvers,
        stores,
        styles,
    )
    from spikax.io import inspect_npz, load_model

    __version__: str

__all__ = (
    "basis",
    "convolve",
    "core",
    "datasets",
    "diagnostics",
    "exceptions",
    "fetch",
    "glm",
    "glm_hmm",
    "hmm",
    "identifiability_constraints",
    "inference",
    "inspect_npz",
    "io",
    "links",
    "load_model",
    "model_selection",
    "observation_models",
    "plotting",
    "regularizer",
    "simulation",
    "solvers",
    "stores",
    "styles",
)


def __getattr__(name: str):
    # Lazy (PEP 562): `import spikax` must not pay for JAX, pynapple and scikit-learn.
    if name in ("inspect_npz", "load_model"):
        return getattr(import_module("spikax.io"), name)
    if name in __all__:
        return import_module(f"spikax.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("spikax")
    raise AttributeError(f"module 'spikax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
