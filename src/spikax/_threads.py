"""How many threads the linear algebra of small matrices takes."""

from functools import cache

import scipy.linalg  # noqa: F401  # its BLAS is the one that JAX factors matrices with on a CPU
from threadpoolctl import ThreadpoolController


def one_blas_thread():
    """Limit BLAS to one thread in a `with` block.

    After a call with several, they spin for some 20 ms on the cores that the program needs next.
    """
    return _blas().limit(limits=1)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
