"""The noise of noisy layers, drawn anew at each call or ahead for several passes at once."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import random

_AHEAD = threading.local()


class Sizes(NamedTuple):
    """The inputs and outputs of a noisy layer."""

    inputs: int
    outputs: int


class Noise(NamedTuple):
    """Of a layer's inputs [R, I] and outputs [R, O], R draws; see linear.factorised_noise."""

    inputs: jax.Array
    outputs: jax.Array


@contextlib.contextmanager
def recording() -> Iterator[list[Sizes]]:
    """Collects the sizes of the noisy layers that are called, in their order."""
    with _set_ahead(recorded=(found := [])):
        yield found


@contextlib.contextmanager
def supplied(noise: Sequence[Noise], groups: Sequence[int] = ()) -> Iterator[None]:
    """The noisy layers called within get these, in their order, instead of drawing.

    Args:
      noise: of the layers.
      groups: see `groups`.
    """
    with _set_ahead(left=(left := list(noise)), groups=tuple(groups)):
        yield
    assert not left, "as many layers as were recorded"


@contextlib.contextmanager
def _set_ahead(**values: Any) -> Iterator[None]:
    before = dict(vars(_AHEAD))
    vars(_AHEAD).update(values)
    try:
        yield
    finally:
        vars(_AHEAD).clear()
        vars(_AHEAD).update(before)


def supply(sizes: Sizes) -> Noise | None:
    """The noise for the layer that is called, if it was drawn ahead; notes its sizes."""
    known = vars(_AHEAD)
    if "recorded" in known:
        known["recorded"].append(sizes)
    return known["left"].pop(0) if "left" in known else None


def groups() -> tuple[int, ...]:
    """Of the passes that are mapped over now, how many in turn share their parameters.

    (2, 1): the first two do, and the third has others.
    """
    return vars(_AHEAD).get("groups", ())


def draw_ahead(
    rngs: jax.Array, layers: Sequence[Sizes], draw: Callable[[jax.Array, tuple[int]], jax.Array]
) -> list[Noise]:
    """The noise of several passes through a network, from the bits they would draw themselves.

    All vectors are drawn in one go, each as long as the longest: with a generator that counts
    (jax_threefry_partitionable) the first n numbers are those of a draw of n.

    Args:
      rngs: the keys [P] that the passes would be given.
      layers: the noisy layers in the order of their calls.
      draw: (key, shape) -> noise.

    Returns:
      For each layer the noise of all passes, with an axis [P] in front.
    """
    longest = max(max(sizes) for sizes in layers)
    keys = jax.vmap(_keys(len(layers)))(rngs)
    vectors = jax.vmap(lambda key: draw(key, (longest,)))(keys.reshape(-1))
    vectors = vectors.reshape(*keys.shape, longest)
    # One array that is written once, not an expression for each layer to compute again.
    vectors = jax.lax.optimization_barrier(vectors)
    return [
        Noise(vectors[:, i, 0, None, : sizes.inputs], vectors[:, i, 1, None, : sizes.outputs])
        for i, sizes in enumerate(layers)
    ]


def draw_in_turn(
    rngs: jax.Array, layers: Sequence[Sizes], draw: Callable[[jax.Array, tuple[int]], jax.Array]
) -> list[list[Noise]]:
    """As draw_ahead, but in a loop over the passes, and vectors of one length at once. For CPUs.

    XLA's compiler for them works out a vector anew within all that uses it, and drops barriers;
    what a loop returns it leaves alone.

    Returns:
      For each pass the noise [1, ...] of its layers.
    """
    lengths = [length for sizes in layers for length in sizes]
    places = {n: [i for i, length in enumerate(lengths) if length == n] for n in lengths}

    def of_pass(rng: jax.Array) -> dict[int, jax.Array]:
        keys = _keys(len(layers))(rng).reshape(-1)
        draw_all = lambda n: jax.vmap(lambda key: draw(key, (n,)))  # noqa: E731
        return {n: draw_all(n)(keys[jnp.array(at)]) for n, at in places.items()}

    drawn = jax.lax.map(of_pass, rngs)

    def vector(number: int, i: int) -> jax.Array:
        return drawn[lengths[i]][number, places[lengths[i]].index(i)][None]

    return [
        [Noise(vector(number, 2 * i), vector(number, 2 * i + 1)) for i in range(len(layers))]
        for number in range(len(rngs))
    ]


def _keys(num_layers: int) -> Callable[[jax.Array], jax.Array]:
    """(key of a pass) -> the keys [L, 2] of its layers' inputs and outputs."""

    def keys_of(rng: jax.Array) -> jax.Array:
        found, key = [], _words(rng)
        for _ in range(num_layers):
            # As Haiku's sequence of keys goes on, and as a layer divides the key that it gets.
            key, of_layer = _split(key)
            found.append([jnp.stack(half) for half in _split(of_layer)])
        return jax.random.wrap_key_data(jnp.stack([jnp.stack(pair) for pair in found]))

    return keys_of


def _words(rng: jax.Array) -> tuple[jax.Array, jax.Array]:
    words = jax.random.key_data(rng)
    return words[0], words[1]


def _split(key: tuple[jax.Array, jax.Array]) -> list[tuple[jax.Array, jax.Array]]:
    """jax.random.split of a threefry key, word by word: no arrays between, which end kernels."""
    zero, one = jnp.uint32(0), jnp.uint32(1)
    return [tuple(random.threefry2x32_p.bind(*key, zero, count)) for count in (zero, one)]
