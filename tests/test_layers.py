"""The layers of the design: a module imports only from those below it."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import spikax

ROOT = Path(spikax.__file__).parent

# Top to bottom. A module may import from the lines below its own.
LAYERS = (
    {"plotting", "io"},
    {"inference", "diagnostics", "model_selection"},
    {"glm_hmm"},
    {"hmm"},
    {"glm"},
    {"simulation"},
    {"datasets", "exceptions", "fetch", "styles", "_npz"},
    {"_model"},
    {"_assemble", "regularizer"},
    {"_coefficients"},
    {"_inputs", "_labels"},
    {"_missing", "_values"},
    {"_layout"},
    {"fit"},
    {"solvers"},
    {"core"},
    {"observation_models"},
    {"links"},
    {"identifiability_constraints"},
    {"basis"},
    {"stores"},
    {"convolve", "design"},
    {"_errors", "_params", "_pytrees", "_threads", "_time_series"},
    {"_arrays"},
)
# The same for the modules of the bases.
BASIS_LAYERS = (
    {"__init__"},
    {"_category", "_custom", "_exponentials", "_fourier"}
    | {"_history", "_identity", "_raised_cosines", "_splines"},
    {"_atomic"},
    {"_basis"},
    {"_design", "_transformer"},
    {"_feature_maps", "_inputs", "_labels"},
    {"_bounds", "_terms"},
    {"_functions"},
)


def levels(layers):
    """Give each name the number of its layer, from the top."""
    return {name: level for level, names in enumerate(layers) for name in names}


LEVEL = levels(LAYERS)
PACKAGES = sorted(path.parent for path in ROOT.rglob("__init__.py") if path.parent != ROOT)
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


def imports_within(package):
    """Find, for each module and package inside a package, which of the others it imports."""
    files = {path.stem: [path] for path in package.glob("*.py")}
    inner = [path.parent for path in package.glob("*/__init__.py")]
    files |= {path.name: list(path.rglob("*.py")) for path in inner}
    start = f"spikax.{'.'.join(package.relative_to(ROOT).parts)}."
    found = {}
    for unit, paths in files.items():
        names = set().union(*(imports(ast.parse(path.read_text())) for path in paths))
        used = {name.removeprefix(start).split(".")[0] for name in names if name.startswith(start)}
        # What is no module is a name that the package itself has imported.
        found[unit] = {name if name in files else "__init__" for name in used} - {unit}
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


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_of_a_package_import_one_another_without_a_circle(package):
    TopologicalSorter(imports_within(package)).prepare()  # raises CycleError


def test_modules_of_bases_import_only_from_below():
    level, found = levels(BASIS_LAYERS), imports_within(ROOT / "basis")
    assert set(found) == set(level)
    for own, used in found.items():
        above = {name for name in used if level[name] <= level[own]}
        assert not above, f"{own} imports {above}, which is above or beside it"


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
