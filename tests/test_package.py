"""The package: what importing it costs and what it offers."""

import subprocess
import sys

import pytest

import spikax


@pytest.mark.parametrize("name", [*spikax.__all__, "__version__"])
def test_every_public_name_resolves(name):
    assert getattr(spikax, name)
    assert name in dir(spikax)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'gml'"):
        _ = spikax.gml  # pyright: ignore[reportAttributeAccessIssue]


def test_the_import_is_lazy():
    code = "import sys, spikax; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"jax", "numpy", "scipy", "sklearn", "pynapple", "matplotlib", "jaxopt"}
    assert not heavy.intersection(loaded)
