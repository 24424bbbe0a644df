"""The layers of the design: a module imports only from those below it."""

import ast
from pathlib import Path

import pytest

import spikax

ROOT = Path(spikax.__file__).parent

# Top to bottom. A module may import from the lines below its own.
LAYERS = (
    {"plotting", "io"},
    {"inference", "diagnostics", "model_selection"},
    {"glm"},
    {"simulation"},
    {"datasets", "_npz"},
    {"_model"},
    {"_assemble"},
    {"_coefficients"},
    {"_inputs", "_labels"},
    {"_missing"},
    {"fit"},
    {"solvers"},
    {"core"},
    {"observation_models"},
    {"links", "regularizer"},
    {"identifiability_constraints"},
    {"basis"},
    {"convolve", "design"},
    {"_errors", "_pytrees", "_threads", "_time_series"},
    {"_arrays"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def part(path):
    """Name the part of the library that a file belongs to: a module, or a package of its own."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(node):
    """Collect the modules that a piece of code imports, those of its functions included."""
    found = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            found |= {alias.name for alias in child.names}
        if isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute here"
            # `from spikax import links` imports spikax.links.
            found |= {f"{child.module}.{alias.name}" for alias in child.names}
    return found


def test_every_part_has_its_layer():
    assert {part(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_below(path):
    own = part(path)
    names = (name.split(".") for name in imports(ast.parse(path.read_text())))
    used = {name[1] for name in names if name[0] == "spikax"} - {own}
    above = {name for name in used if LEVEL[name] <= LEVEL[own]}
    assert not above, f"{own} imports {above}, which the design puts above or beside it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_jaxopt_is_imported_in_one_function_only(path):
    tree = ast.parse(path.read_text())
    roots = [{name.split(".")[0] for name in imports(statement)} for statement in tree.body]
    users = [s for s, names in zip(tree.body, roots, strict=True) if "jaxopt" in names]
    if path == ROOT / "solvers" / "external" / "_jaxopt.py":
        assert [type(user) for user in users] == [ast.FunctionDef]
    else:
        assert not users


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_may_be_missing_is_not_imported_with_a_module(path):
    tree = ast.parse(path.read_text())
    loaded = [s for s in tree.body if isinstance(s, ast.Import | ast.ImportFrom)]
    names = {name.split(".")[0] for statement in loaded for name in imports(statement)}
    assert not names & {"optimistix", "optax", "equinox"}
