"""Parameters of values that users construct, as scikit-learn gets and sets them."""

from functools import cache
from inspect import signature
from typing import Any, Self


class HasParams:
    """What scikit-learn asks of the parameters of an estimator: `alpha__beta` reaches them."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep
            Makes no difference; for scikit-learn.

        Returns
        -------
        dict
            Parameters by name.
        """
        return {name: getattr(self, name) for name in _names_of_parameters(type(self))}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, which the constructor checks.

        Parameters
        ----------
        **params
            New values by name.

        Returns
        -------
        self
            The object itself, changed.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self!r}. Valid parameters are: "
                    f"{list(known)}."
                )
        # Past the dataclass, which is frozen so that nothing else changes what a model was given.
        vars(self).update(vars(type(self)(**(known | params))))
        return self


@cache
def _names_of_parameters(kind: type) -> tuple[str, ...]:
    return tuple(signature(kind).parameters)
