"""An independent reference in NumPy and float64: the lowest loss that a neuron's GLM can reach."""

import numpy as np
from scipy.linalg import qr
from scipy.special import expit


def poisson(eta, y):
    """Loss of each sample, above that of a perfect prediction, and its first two derivatives."""
    mean = np.exp(eta)
    miss = eta - np.log(np.where(y > 0, y, 1))
    # Half the deviance: with large counts, `mean - y * eta` would lose what is looked for.
    return np.where(y > 0, y * (np.expm1(miss) - miss), mean), mean - y, mean


def bernoulli(eta, y):
    """Loss of each sample and its first two derivatives."""
    mean = expit(eta)
    return np.logaddexp(0, eta) - y * eta, mean - y, mean * (1 - mean)


def gaussian(eta, y):
    """Loss of each sample and its first two derivatives."""
    return (y - eta) ** 2, 2 * (eta - y), 2 * np.ones_like(eta)


def negative_binomial(eta, y):
    """Loss of each sample at a scale of one, above a perfect prediction's, and two derivatives."""
    mean = np.exp(eta)
    share = (1 + y) / (1 + mean)
    loss = (1 + y) * (np.log1p(mean) - np.log1p(y)) - y * (eta - np.log(np.where(y > 0, y, 1)))
    return loss, (mean - y) / (1 + mean), share * mean / (1 + mean)


FAMILIES = {
    "Poisson": poisson,
    "Bernoulli": bernoulli,
    "Gaussian": gaussian,
    "NegativeBinomial": negative_binomial,
}


def loss(family, X, y, coef, intercept, weights=None, offset=0.0):
    """Sum the loss of one neuron at given parameters, in float64; rows with NaN are left out."""
    X, y, weights, offset = counting(X, y, weights, offset)
    eta = X @ np.asarray(coef, float) + float(intercept) + offset
    return np.sum(weights * FAMILIES[family](eta, y)[0])


def lowest_loss(family, X, y, weights=None, offset=0.0):
    """Find the infimum of the summed loss of one neuron, at finite parameters or at infinity.

    Newton's method with halved steps in an orthonormal basis of the features and the intercept.
    Where the optimum is at infinity, each step lowers what is left by a factor of e or so.
    """
    X, y, weights, offset = counting(X, y, weights, offset)
    spread = np.abs(X - X.mean(axis=0)).max(axis=0)
    moving = spread > 1e-14 * np.abs(X).max(axis=0)
    standard = (X - X.mean(axis=0))[:, moving] / spread[moving]
    design = np.hstack([np.ones((len(X), 1)), standard])
    Q, R, _ = qr(design, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(R))
    Q = np.sqrt(len(X)) * Q[:, diagonal > 1e-13 * diagonal[0]]

    def total(theta):
        with np.errstate(over="ignore", invalid="ignore"):
            value = np.sum(weights * FAMILIES[family](Q @ theta + offset, y)[0])
        return value if np.isfinite(value) else np.inf

    theta = np.zeros(Q.shape[1])
    value = total(theta)
    for _ in range(2000):
        _, slope, curvature = FAMILIES[family](Q @ theta + offset, y)
        gradient = Q.T @ (weights * slope)
        hessian = (Q * (weights * curvature)[:, None]).T @ Q
        hessian += 1e-15 * np.trace(hessian) * np.eye(len(hessian))
        step = np.linalg.solve(hessian, -gradient)
        # Far out a negative binomial is straight, and its Newton steps are without bounds.
        step *= 10 / max(10, np.abs(Q @ step).max())
        gain = -gradient @ step / 2
        length = 1.0
        while total(theta + length * step) > value - 1e-4 * length * gain and length > 1e-12:
            length /= 2
        if length <= 1e-12 or gain < 1e-9:
            break
        theta = theta + length * step
        value = total(theta)
    return value


def counting(X, y, weights, offset):
    """Keep the rows that count, in float64."""
    X, y = np.asarray(X, float), np.asarray(y, float)
    weights = np.ones(len(y)) if weights is None else np.asarray(weights, float)
    offset = np.broadcast_to(np.asarray(offset, float), y.shape)
    rows = np.isfinite(X).all(axis=1) & np.isfinite(y) & np.isfinite(offset) & (weights > 0)
    return X[rows], y[rows], weights[rows], offset[rows]


def lowest_penalised_loss(family, X, y, groups, costs, ridge=0.0):
    """Find the minimum of one neuron's summed loss plus `sum(costs |w_g|) + ridge |w|^2 / 2`.

    Newton's method with a barrier that keeps `t_g > |w_g|` (Boyd & Vandenberghe 2004, Convex
    Optimization, sections 11.3 and 11.6): at the centre of weight `s` the loss with costs of `t`
    is at most `2 n_groups / s` above the minimum. That bound is taken off, here below 1e-6.
    """
    n_features, n_groups = X.shape[1], len(groups)
    design = np.hstack([X, np.ones((len(X), 1))])
    shrunk = np.append(np.full(n_features, ridge), 0)
    of_design, of_bound = slice(0, n_features + 1), slice(n_features + 1, None)

    def barrier(point, s):
        w, bound = point[of_design], point[of_bound]
        room = bound**2 - [np.sum(w[g] ** 2) for g in groups]
        if np.any(room <= 0) or np.any(bound <= 0):
            return np.inf, None, None
        with np.errstate(over="ignore", invalid="ignore"):
            loss, slope, curvature = FAMILIES[family](design @ w, y)
            value = s * (loss.sum() + shrunk @ w**2 / 2 + costs @ bound) - np.log(room).sum()
        gradient = s * np.append(design.T @ slope + shrunk * w, costs)
        hessian = np.zeros((len(point), len(point)))
        hessian[of_design, of_design] = s * ((design.T * curvature) @ design + np.diag(shrunk))
        for i, g in enumerate(groups):
            rows = [*g, n_features + 1 + i]
            sign = np.append(-np.ones(len(g)), 1)
            pull = 2 * sign * point[rows] / room[i]
            gradient[rows] -= pull
            hessian[np.ix_(rows, rows)] += np.outer(pull, pull) - np.diag(2 * sign / room[i])
        return (value if np.isfinite(value) else np.inf), gradient, hessian

    point = np.append(np.zeros(n_features + 1), np.ones(n_groups))
    s = 1e-3
    while True:
        for _ in range(300):
            value, gradient, hessian = barrier(point, s)
            unit = 1 / np.sqrt(np.diag(hessian))
            step = -unit * np.linalg.solve(hessian * np.outer(unit, unit), unit * gradient)
            decrement = -gradient @ step
            length = 1.0
            while barrier(point + length * step, s)[0] > value - 0.1 * length * decrement:
                length /= 2
                if length < 1e-12:
                    break
            if decrement < 1e-6 or length < 1e-12:
                break
            point = point + length * step
        if 2 * n_groups / s < 1e-6:
            break
        s *= 5
    w = point[of_design]
    loss = FAMILIES[family](design @ w, y)[0].sum() + shrunk @ w**2 / 2
    return loss + costs @ [np.linalg.norm(w[g]) for g in groups] - 2 * n_groups / s
