"""Count what JAX compiles."""

from contextlib import contextmanager

import jax.monitoring


@contextmanager
def counted():
    """Collect the names of the compilations that happen inside, in a list."""
    events = []

    def listen(event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(details.get("fun_name", "unnamed"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
