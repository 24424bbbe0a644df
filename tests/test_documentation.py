"""The docstrings of everything that users name: the reference is made of them."""

import dataclasses
import importlib
import inspect
import re
import sys
import types
from pathlib import Path

import pytest

import spikax

MODULES = [
    importlib.import_module(f"spikax.{name}")
    for name in spikax.__all__
    if isinstance(getattr(spikax, name), types.ModuleType)
]
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in MODULES
    for name in module.__all__
}
# What has no docstring of its own is explained by its module; what another library's is, by it.
CONSTANTS = {n: v for n, v in PUBLIC.items() if not callable(v)}
FOREIGN = {
    n: v for n, v in PUBLIC.items() if callable(v) and not v.__module__.startswith("spikax.")
}
PUBLIC = {n: v for n, v in PUBLIC.items() if n not in CONSTANTS and n not in FOREIGN}
CLASSES = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing)}
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing)}
SHELLS = ("spikax.glm.", "spikax.model_selection.")
# What each protocol asks for.
PROTOCOLS = {
    kind: [name for name in (*vars(kind), *kind.__annotations__) if not name.startswith("_")]
    for kind in CLASSES.values()
    if getattr(kind, "_is_protocol", False)
}


def members(kind):
    """Find what a class has for users, less what other libraries give it.

    What a private base of ours asks for, and a public class only fills in, is none of theirs.
    """
    for name, member in inspect.getmembers(kind):
        owners = [base for base in kind.__mro__ if name in vars(base)]
        ours = [base for base in owners if base.__module__.startswith("spikax")]
        routing = name.startswith("set_") and name.endswith("_request")
        if not ours or name.startswith("_") or routing:
            continue
        # A shell of estimators is private, and what it does is what its estimators do.
        if ours[-1] in CLASSES.values() or ours[-1].__module__.startswith(SHELLS):
            yield name, member


def explained_by_protocol(kind, name):
    """Whether a method is what a public protocol asks of the class: there it is explained."""
    return any(
        protocol is not kind and name in asked and all(hasattr(kind, member) for member in asked)
        for protocol, asked in PROTOCOLS.items()
    )


def explained_by_base(kind, name):
    """Whether a method is that of a public class that this one is a kind of."""
    return any(base in CLASSES.values() and name in vars(base) for base in kind.__mro__[1:])


# What several classes inherit counts once.
MEMBERS = {
    member: f"{name}.{attribute}"
    for name, kind in CLASSES.items()
    for attribute, member in members(kind)
    if isinstance(member, property | types.FunctionType)
    and not explained_by_protocol(kind, attribute)
    and not explained_by_base(kind, attribute)
}
METHODS = {name: member for member, name in MEMBERS.items() if inspect.isfunction(member)}
PROPERTIES = {name: member for member, name in MEMBERS.items() if isinstance(member, property)}
EVERYTHING = {**CLASSES, **FUNCTIONS, **METHODS, **PROPERTIES}

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = [*sorted(ROOT.glob("docs/**/*.md")), *ROOT.glob("examples/*"), ROOT / "README.md"]
SPELLED = re.compile(r"\b(?:spikax|nmo)((?:\.[A-Za-z]\w*)+)")  # nmo.glm.GLM
IMPORTED = re.compile(r"\bfrom spikax\.([a-z]\w*) import ([\w, ]+)")


def test_what_estimators_do_is_among_what_is_looked_at():
    for kind in ("glm.PopulationGLM", "glm.ClassifierPopulationGLM"):
        documented = {name for name, _ in members(CLASSES[f"spikax.{kind}"])}
        assert {"fit", "predict", "score", "simulate", "update", "partial_fit"} <= documented


def sections(thing):
    """Split a docstring by its numpydoc titles; what comes before the first is the summary."""
    parts = re.split(r"^(\w[\w ]+)\n-{3,}\n", inspect.getdoc(thing) or "", flags=re.MULTILINE)
    return {"Summary": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def described(text):
    """Read the names that a section describes, "a, b : type" being two."""
    heads = re.findall(r"^(\S.*)$", text, flags=re.MULTILINE)
    return {name.strip(" *") for head in heads for name in head.split(" : ")[0].split(",")}


def parameters(thing):
    """Name the parameters of a function, or of a class's constructor."""
    return set(inspect.signature(thing).parameters) - {"self"}


def test_every_module_names_what_users_need_and_nothing_else():
    assert len(MODULES) > 10
    for module in MODULES:
        assert module.__doc__
        assert list(module.__all__) == sorted(module.__all__, key=isort_order)
    assert len(CLASSES) + len(FUNCTIONS) == len(PUBLIC)
    for name in [*CONSTANTS, *FOREIGN]:
        module, _, last = name.rpartition(".")
        explained = inspect.getdoc(sys.modules[module]) or ""
        assert ">>>" in explained and last in explained


def isort_order(name):
    """Sort constants, classes and functions as ruff sorts `__all__`."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def mentioned():
    """Find the full names, less `spikax`, that pages, docstrings and examples spell out."""
    names = {}
    for path in [*PAGES, *SOURCES]:
        text = path.read_text()
        if path.suffix == ".py":  # what a module imports for itself starts its line
            text = re.sub(r"^(from|import) .*$", "", text, flags=re.MULTILINE)
        spelled = {match[1:] for match in SPELLED.findall(text)}
        for module, listed in IMPORTED.findall(text):
            spelled |= {f"{module}.{name.strip()}" for name in listed.split(",") if name.strip()}
        names |= dict.fromkeys(spelled - set(names), path.relative_to(ROOT))
    return {name: path for name, path in names.items() if name.split(".")[0] in spikax.__all__}


@pytest.mark.parametrize("name", sorted(mentioned()))
def test_every_name_that_the_documentation_spells_is_public(name):
    thing = spikax
    for part in name.split("."):
        if isinstance(thing, types.ModuleType):
            assert part in thing.__all__, f"{name} of {mentioned()[name]} is not in __all__"
            thing = getattr(thing, part)
        else:
            known = getattr(thing, "__dataclass_fields__", {})
            assert hasattr(thing, part) or part in known, f"{name} of {mentioned()[name]}"
            return


def test_every_module_is_in_the_reference():
    reference = (ROOT / "docs" / "api" / "index.md").read_text()
    listed = re.findall(r"^ +(spikax\.\w+)$", reference, flags=re.MULTILINE)
    assert sorted(listed) == sorted(module.__name__ for module in MODULES)


@pytest.mark.parametrize("name", EVERYTHING)
def test_everything_public_is_summarised_in_a_sentence(name):
    summary = sections(EVERYTHING[name])["Summary"]
    assert summary.strip()
    assert summary.split("\n\n")[0].rstrip().endswith((".", ":"))


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_that_users_name_is_shown_in_an_example(name):
    assert ">>>" in sections(PUBLIC[name]).get("Examples", "")


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_every_parameter_is_described(name):
    thing = EVERYTHING[name]
    assert not parameters(thing) - described(sections(thing).get("Parameters", ""))


@pytest.mark.parametrize("name", CLASSES)
def test_every_argument_and_field_of_a_class_is_described(name):
    kind, found = CLASSES[name], sections(CLASSES[name])
    if dataclasses.is_dataclass(kind):
        wanted = {field.name for field in dataclasses.fields(kind)}
    elif hasattr(kind, "_fields") or hasattr(kind, "__members__"):  # a named tuple, an enumeration
        wanted = set(getattr(kind, "_fields", None) or kind.__members__)
    else:
        wanted = set() if kind in PROTOCOLS else parameters(kind) - {"args", "kwargs"}
    both = found.get("Parameters", ""), found.get("Attributes", "")
    assert not wanted - described("\n".join(both))
