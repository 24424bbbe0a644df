"""Observation models: how counts, choices and traces scatter around their mean."""

from collections.abc import Callable

from spikax._errors import unknown_name
from spikax._pytrees import adopt
from spikax.observation_models._bernoulli import BernoulliObservations
from spikax.observation_models._beta_binomial import BetaBinomialObservations
from spikax.observation_models._categorical import CategoricalObservations
from spikax.observation_models._gamma import GammaObservations
from spikax.observation_models._gaussian import GaussianObservations
from spikax.observation_models._likelihood import Likelihood
from spikax.observation_models._negative_binomial import NegativeBinomialObservations
from spikax.observation_models._observations import (
    Dispersion,
    Observations,
    check_members,
)
from spikax.observation_models._poisson import PoissonObservations
from spikax.observation_models._zero_inflated import (
    HurdlePoissonObservations,
    ZeroInflatedPoissonObservations,
)

__all__ = [
    "BernoulliObservations",
    "BetaBinomialObservations",
    "CategoricalObservations",
    "Dispersion",
    "GammaObservations",
    "GaussianObservations",
    "HurdlePoissonObservations",
    "Likelihood",
    "NegativeBinomialObservations",
    "Observations",
    "PoissonObservations",
    "ZeroInflatedPoissonObservations",
    "resolve",
]

OBSERVATION_MODELS: dict[str, Callable[[], Observations]] = {
    "Poisson": PoissonObservations,
    "Bernoulli": BernoulliObservations,
    "Gaussian": GaussianObservations,
    "Gamma": GammaObservations,
    "NegativeBinomial": NegativeBinomialObservations,
    "ZeroInflatedPoisson": ZeroInflatedPoissonObservations,
    "HurdlePoisson": HurdlePoissonObservations,
}


# Names of the linear predictors of models that have several.
SEVERAL_PREDICTORS = (
    ZeroInflatedPoissonObservations().predictors,
    NegativeBinomialObservations("features").predictors,
)


def resolve(observation_model: str | Observations) -> Observations:
    """Find the observation model that a name stands for.

    Parameters
    ----------
    observation_model
        A name ("Poisson", "Bernoulli", "Gaussian", "Gamma", "NegativeBinomial",
        "ZeroInflatedPoisson", "HurdlePoisson") or an observation model.

    Returns
    -------
    Observations
        The model.

    Raises
    ------
    ValueError
        If the name is unknown, or a member of the model returns what has another shape.
    TypeError
        If it is neither a name nor a model, it lacks a member, or JAX would confuse its class with
        others.

    Examples
    --------
    >>> from spikax.observation_models import resolve
    >>> resolve("Poisson")
    PoissonObservations()
    """
    if isinstance(observation_model, str):
        if observation_model not in OBSERVATION_MODELS:
            raise unknown_name("observation_model", observation_model, OBSERVATION_MODELS)
        return OBSERVATION_MODELS[observation_model]()
    if isinstance(observation_model, Observations):
        adopt(observation_model)
        check_members(observation_model)
        return observation_model
    remedy = ""
    if callable(observation_model):
        remedy = " Call it, to pass what it makes."
    elif hasattr(observation_model, "log_prob") or hasattr(observation_model, "loss"):
        remedy = " Let its class inherit from spikax.observation_models.Observations."
    raise TypeError(
        f"observation_model must be a name ({', '.join(OBSERVATION_MODELS)}) or an observation "
        f"model, got {observation_model!r}.{remedy}"
    )
