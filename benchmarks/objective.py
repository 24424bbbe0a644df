"""The penalised objective and its optimum in float64 NumPy, independent of every peer."""

import numpy as np
from scipy.linalg import eigh

BLOCK = 8192  # samples at a time: temporaries stay in cache


def objective(X, y, coef, intercept, strength=0.0):
    """Return the mean of `mu - y * eta` over time plus the ridge term, per neuron."""
    coef, intercept = np.asarray(coef, float), np.asarray(intercept, float)
    total = np.zeros(y.shape[1])
    for rows in blocks(len(X)):
        eta = X[rows] @ coef + intercept
        total += np.sum(np.exp(eta) - y[rows] * eta, axis=0)
    return total / len(X) + 0.5 * strength * np.sum(coef**2, axis=0)


def optimum(X, y, strength=0.0, tol=1e-8, max_steps=100):
    """Return the least objective of one neuron, `tol` nats below which Newton sees no gain."""
    n_samples, n_features = X.shape
    penalty = np.append(np.full(n_features, strength), 0.0)
    params = np.append(np.zeros(n_features), np.log(np.mean(y)))
    loss = value(X, y, params, penalty)
    for _ in range(max_steps):
        gradient, hessian = derivatives(X, y, params, penalty)
        step = -solve(hessian, gradient)
        if -n_samples * (gradient @ step) / 2 < tol:
            break
        size, candidate = line_search(X, y, params, penalty, loss, step, gradient @ step)
        if size == 0:
            break
        params, loss = params + size * step, candidate
    return loss


def value(X, y, params, penalty):
    eta = X @ params[:-1] + params[-1]
    with np.errstate(over="ignore"):
        return np.mean(np.exp(eta) - y * eta) + 0.5 * penalty @ params**2


def derivatives(X, y, params, penalty):
    """Return gradient and Hessian in the coefficients and, last, the intercept."""
    gradient, hessian = np.zeros(len(params)), np.zeros((len(params), len(params)))
    for rows in blocks(len(X)):
        design = np.column_stack([X[rows], np.ones(len(X[rows]))])
        mu = np.exp(design @ params)
        gradient += design.T @ (mu - y[rows])
        design *= np.sqrt(mu)[:, None]
        hessian += design.T @ design
    return gradient / len(X) + penalty * params, hessian / len(X) + np.diag(penalty)


def solve(hessian, gradient, cutoff=1e-13):
    """Solve in the space where the Hessian has curvature: real designs are rank-deficient."""
    scale = 1 / np.sqrt(np.diag(hessian).clip(np.finfo(float).tiny))
    values, vectors = eigh(hessian * scale * scale[:, None])
    kept = values > cutoff * values[-1]
    vectors = vectors[:, kept]
    return scale * (vectors @ (vectors.T @ (scale * gradient) / values[kept]))


def line_search(X, y, params, penalty, loss, step, slope):
    """Halve the step until it decreases the loss; a size of zero says none does."""
    size = 1.0
    for _ in range(40):
        candidate = value(X, y, params + size * step, penalty)
        if candidate <= loss + 1e-4 * size * slope:
            return size, candidate
        size /= 2
    return 0.0, loss


def blocks(n_samples):
    return [slice(start, start + BLOCK) for start in range(0, n_samples, BLOCK)]
