"""How often Python looks for objects that only refer to each other."""

import atexit
import gc


def collect_seldom() -> None:
    """Sets thresholds for many objects that stay, and leaves out the last search.

    Importing, tracing and compiling make millions of objects and few such cycles. With Python's
    thresholds a tenth of a start's CPU time goes into looking for them. Commands call this before
    they import JAX, and so before `jax_platform.set_up`, which is there for all others.
    """
    gc.set_threshold(50_000, 5, 5)
    # At the end the interpreter searches all it has; its memory goes back without that.
    atexit.register(gc.freeze)
