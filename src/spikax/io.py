"""Load models from the files that `save_params` writes, and look into them."""

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from os import PathLike
from typing import Any

import numpy as np
import sklearn.model_selection
from sklearn import config_context
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit

from spikax import _npz, glm, glm_hmm, hmm, model_selection, observation_models
from spikax._errors import unknown_name
from spikax.glm._shell import Shell
from spikax.hmm._shell import StatesShell

__all__ = ["inspect_npz", "load_model"]

_MODULES = (glm, glm_hmm, hmm, model_selection)  # which have estimators
_RESULTS = {"spikax.hmm.Restarts": hmm.Restarts}  # that fits keep

Estimator = Shell | StatesShell


def load_model(
    filename: str | PathLike, mapping_dict: Mapping[str, Any] | None = None
) -> Estimator:
    """Load a model that `save_params` wrote.

    Files of all estimators are taken, those that choose their strength by cross-validation
    included. A file runs no code: it holds no pickles, and of what it names only spikax's and
    JAX's own functions and classes, and what makes folds in scikit-learn, are looked up.

    Parameters
    ----------
    filename
        Path of the file.
    mapping_dict
        What to use for functions and classes that are not spikax's or JAX's, by the argument that
        held them, such as `{"inverse_link_function": my_link}`; None for nothing. A class is made
        anew from the fields that were saved. "model" stands for a subclass of spikax's models.
        `inspect_npz` shows what a file names.

    Returns
    -------
    model
        The model, with its constructor's arguments and its fitted attributes, as NumPy arrays;
        `solver_state_` is not saved.

    Raises
    ------
    ValueError
        If the file is damaged, not written by `save_params`, in a format newer than this version
        knows, or names what neither spikax nor `mapping_dict` knows.
    TypeError
        If `filename` is not a path, or `mapping_dict` not a dict.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import spikax as nmo
    >>> model = nmo.glm.GLM().fit(np.arange(6.0).reshape(-1, 1), np.array([0, 1, 0, 2, 1, 3]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save_params(f"{folder}/model.npz")
    ...     loaded = nmo.load_model(f"{folder}/model.npz")
    >>> bool(loaded.coef_ == model.coef_)
    True
    """
    if not isinstance(mapping_dict, Mapping | None):
        raise TypeError(
            "mapping_dict must be a dict from arguments to objects, such as "
            f"{{'inverse_link_function': my_link}}, got {mapping_dict!r}."
        )
    mapping = dict(mapping_dict or {})
    saved = _npz.read(filename)
    kind = _model_class(saved, mapping.pop("model", None))
    named = set()

    def find(where: str, name: str, held: dict[str, Any] | None) -> Any:
        named.add(where)
        found = mapping[where] if where in mapping else _public(saved, where, name)
        if held is None or not (isinstance(found, type) or name in _RENAMED):
            return found
        return _made(saved, where, found, held)

    params, fitted = saved.values(saved.params, find), saved.values(saved.fitted, find)
    for where in mapping:
        if where not in named:
            raise unknown_name(f"argument in mapping_dict for {saved.filename}", where, named)
    known = kind._get_param_names()
    for name in [*params, *fitted]:
        if (name in params) != (name in known) or hasattr(kind, name):
            raise _npz.damaged(saved.filename, f"{kind.__name__} has no place for {name!r}")
    model = kind(**params)
    vars(model).update(fitted)
    _route(model, saved)
    return model


def inspect_npz(file_path: str | PathLike) -> None:
    """Print what a file of `save_params` holds, without making the model.

    Parameters
    ----------
    file_path
        Path of the file.

    Raises
    ------
    ValueError
        If the file is damaged, not written by `save_params`, or in a format newer than this
        version knows.

    Examples
    --------
    >>> import tempfile
    >>> import spikax as nmo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nmo.glm.GLM(regularizer="Ridge").save_params(f"{folder}/model.npz")
    ...     nmo.inspect_npz(f"{folder}/model.npz")
    spikax.glm.GLM, saved by spikax ...
    Constructor arguments
        feature_mask: None
        fit_intercept: True
        inverse_link_function: None
        observation_model: 'Poisson'
        regularizer: 'Ridge'
        regularizer_strength: None
        solver_kwargs: None
        solver_name: None
        weight_type: 'precision'
    Fitted attributes
        none
    """
    saved = _npz.read(file_path)
    sections = ("Constructor arguments", saved.params), ("Fitted attributes", saved.fitted)
    print(f"{saved.model}, saved by spikax {saved.version}")
    with np.printoptions(threshold=8, edgeitems=2, precision=4):
        for title, nodes in sections:
            print(title)
            for name, value in saved.values(nodes, _Shown).items():
                print(f"    {name}: {value!r}")
            if not nodes:
                print("    none")


class _Shown:
    """A function or an object that is shown, and not made."""

    def __init__(self, where: str, name: str, held: dict[str, Any] | None):
        listed = ", ".join(f"{k}={v!r}" for k, v in (held or {}).items())
        self.text = name if held is None else f"{name}({listed})"

    def __repr__(self) -> str:
        return self.text


def _route(model: Any, saved: _npz.Saved) -> None:
    """Ask scikit-learn for the metadata that the saved model asked for."""
    try:
        with config_context(enable_metadata_routing=True):
            for method, asked in dict(saved.routing).items():
                getattr(model, f"set_{method}_request")(**asked)
    except (AttributeError, TypeError, ValueError) as error:
        raise _npz.damaged(saved.filename, f"routing is {saved.routing!r:.60}") from error


def _public(saved: _npz.Saved, where: str, name: str) -> Any:
    found = _npz.public(name) or _splitters().get(name) or {**_RENAMED, **_RESULTS}.get(name)
    if found is None:
        last = name.rpartition(".")[2]
        raise ValueError(
            f"{where} of the model in {saved.filename} is {name}, which is not a public name of "
            "spikax or JAX, and nothing is imported because a file names it. Pass it: "
            f"mapping_dict={{{where!r}: {last if last.isidentifier() else '...'}}}."
        )
    return found


def _negative_binomial(scale: Any, estimate: bool) -> Any:
    return observation_models.NegativeBinomialObservations("estimate" if estimate else scale)


def _held(family: Any) -> Any:
    return family


# Observation models as files of spikax 0.1.0 call them, where families were within models.
_OLD = observation_models.__name__
_RENAMED: dict[str, Callable] = {
    f"{_OLD}.{name}": getattr(observation_models, f"{name}Observations")
    for name in ("Poisson", "Bernoulli", "Gaussian", "Gamma", "Categorical")
}
_RENAMED[f"{_OLD}.NegativeBinomial"] = _negative_binomial
_RENAMED[f"{_OLD}.ObservationModel"] = _held


def _made(saved: _npz.Saved, where: str, kind: Any, held: dict[str, Any]) -> Any:
    splitter = isinstance(kind, type) and issubclass(kind, BaseCrossValidator | BaseShuffleSplit)
    try:
        if not (splitter or is_dataclass(kind) or kind in _RENAMED.values()):
            raise TypeError("it is not a dataclass")
        return kind(**held)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where} in {saved.filename} cannot be made as a {kind.__name__} from the fields "
            f"that were saved, {', '.join(held) or 'none'}: {error}."
        ) from error


def _splitters() -> dict[str, Any]:
    """Find all public classes that make folds, by the names that files give them."""
    modules = (model_selection, sklearn.model_selection)
    public = [(f"{m.__name__}.{n}", vars(m).get(n)) for m in modules for n in m.__all__]
    return {name: thing for name, thing in public if callable(getattr(thing, "split", None))}


def estimators() -> dict[str, type[Estimator]]:
    """Find all public classes of models, by the names that files give them."""
    public = [(f"{m.__name__}.{n}", getattr(m, n)) for m in _MODULES for n in m.__all__]
    return {
        name: thing
        for name, thing in public
        if isinstance(thing, type) and issubclass(thing, Estimator)
    }


def _model_class(saved: _npz.Saved, own: Any) -> type[Estimator]:
    if own is not None:
        if not (isinstance(own, type) and issubclass(own, Estimator)):
            raise TypeError(f"mapping_dict['model'] must be a class of models, got {own!r}.")
        return own
    kinds = estimators()
    if saved.model not in kinds:
        raise ValueError(
            f"The model in {saved.filename} is a {saved.model}, and not one of "
            f"{', '.join(kinds)}. If it is a class of yours, pass it: mapping_dict={{'model': "
            f"{saved.model.rpartition('.')[2]}}}. If it is spikax's, upgrade spikax."
        )
    return kinds[saved.model]
