"""VALID convolutions written as matrix products, which on a CPU beat XLA's own operator.

A convolution of stride s with a K x K kernel is, after space-to-depth by s, one of stride 1 with an
n x n kernel, n = K/s. Two formulations of that:

* shifted products: multiply the input by all n*n kernel taps at once, then add up shifted slices of
  the product. Nothing is copied n*n times, but positions at the border are computed in vain: the
  better one for n <= 2.
* patches: gather the n*n taps of the input side by side, then one product.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from core import checks, settings
from networks import declared, linear, nonlinearity


def space_to_depth(x: jax.Array, block: int) -> jax.Array:
    """Moves blocks of space into channels: [B, H, W, C] to [B, H/b, W/b, b*b*C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // block, block, width // block, block, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // block, width // block, block * block * channels)


def frames_to_depth(frames: jax.Array, block: int) -> jax.Array:
    """Space-to-depth of frame stacks uint8: [B, S, H, W] to [B, H/b, W/b, S*b*b].

    Only the small uint8 array is rearranged. In blocks of 4, four pixels of a line are moved as
    one 32-bit word instead of byte by byte.
    """
    batch, stack, height, width = frames.shape
    rows, columns = height // block, width // block
    if block != 4:
        x = frames.reshape(batch, stack, rows, block, columns, block)
        # As a transposition, XLA would work out the place of each byte.
        lines = [x[:, frame, :, line] for frame in range(stack) for line in range(block)]
        return jnp.concatenate(lines, axis=-1)
    words = frames.reshape(batch, stack, rows, block, columns, 4)
    words = jax.lax.bitcast_convert_type(words, jnp.uint32).transpose(0, 2, 4, 1, 3)
    return jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(batch, rows, columns, -1)


def gather_patches(x: jax.Array, size: int) -> jax.Array:
    """All size x size windows of [B, H, W, C], as [B, H-size+1, W-size+1, size*size*C]."""
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    windows = [x[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    return jnp.concatenate(windows, axis=-1)


@jax.custom_vjp
def shifted_products(x: jax.Array, w: jax.Array) -> jax.Array:
    """A stride-1 convolution of [B, H, W, C] with [n, n, C, O] as one product and n*n shifts."""
    size, outputs = w.shape[0], w.shape[-1]
    products = x @ _taps_as_columns(w)
    products = products.reshape((*x.shape[:3], size * size, outputs))
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    shifted = (
        products[:, i : i + height, j : j + width, i * size + j]
        for i in range(size)
        for j in range(size)
    )
    return functools.reduce(jnp.add, shifted)


def _shifted_products_forward(x: jax.Array, w: jax.Array):
    return shifted_products(x, w), (x, w)


def _shifted_products_backward(residuals, dy: jax.Array):
    """The transpose of adding shifted slices is laying shifted copies side by side.

    Derived automatically it would be a sum of n*n padded arrays, which XLA does not fuse well.
    """
    x, w = residuals
    size, _, channels, outputs = w.shape
    shifted = [
        jnp.pad(dy, ((0, 0), (i, size - 1 - i), (j, size - 1 - j), (0, 0)))
        for i in range(size)
        for j in range(size)
    ]
    d_products = jnp.concatenate(shifted, axis=-1)
    dx = d_products @ _taps_as_columns(w).T
    dw = x.reshape(-1, channels).T @ d_products.reshape(-1, size * size * outputs)
    return dx, dw.reshape(channels, size, size, outputs).transpose(1, 2, 0, 3)


shifted_products.defvjp(_shifted_products_forward, _shifted_products_backward)


def _taps_as_columns(w: jax.Array) -> jax.Array:
    """[n, n, C, O] to [C, n*n*O]."""
    return w.transpose(2, 0, 1, 3).reshape(w.shape[2], -1)


def stride_one_convolution(x: jax.Array, w: jax.Array) -> jax.Array:
    """A VALID convolution of [B, H, W, C] with [n, n, C, O], in the better formulation."""
    size = w.shape[0]
    if size <= 2:
        return shifted_products(x, w)
    return gather_patches(x, size) @ w.reshape(-1, w.shape[-1])


def matmul_convolution(x: jax.Array, w: jax.Array, stride: int) -> jax.Array:
    """A VALID convolution of [B, H, W, C] with [K, K, C, O] by matrix products.

    Raises:
      ValueError: if the stride does not divide the kernel's size.
    """
    size, _, channels, outputs = w.shape
    taps = _count_taps(size, stride)
    height, width = (_covered(n, size, stride) for n in x.shape[1:3])
    w = w.reshape(taps, stride, taps, stride, channels, outputs).transpose(0, 2, 1, 3, 4, 5)
    w = w.reshape(taps, taps, -1, outputs)
    return stride_one_convolution(space_to_depth(x[:, :height, :width], stride), w)


def matmul_frame_convolution(frames: jax.Array, w: jax.Array, stride: int) -> jax.Array:
    """The same for frame stacks uint8 [B, S, H, W] with [K, K, S, O]."""
    size, _, stack, outputs = w.shape
    taps = _count_taps(size, stride)
    height, width = (_covered(n, size, stride) for n in frames.shape[2:])
    w = w.reshape(taps, stride, taps, stride, stack, outputs).transpose(0, 2, 4, 1, 3, 5)
    w = w.reshape(taps, taps, -1, outputs)
    x = frames_to_depth(frames[:, :, :height, :width], stride)
    return stride_one_convolution(x.astype(w.dtype), w)


def _count_taps(size: int, stride: int) -> int:
    if size % stride:
        raise ValueError(f"stride {stride} must divide the kernel size {size}")
    return size // stride


def _covered(length: int, size: int, stride: int) -> int:
    """How many of `length` rows or columns some window covers."""
    return length - (length - size) % stride


def lax_convolution(x: jax.Array, w: jax.Array, stride: int) -> jax.Array:
    """A VALID convolution of [B, H, W, C] with [K, K, C, O] by XLA's own operator."""
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def formulation_key() -> Any:
    """The key `formulation` of a torso's section."""
    return settings.key(
        "matmul",
        checks.one_of("matmul", "lax"),
        "how convolutions are computed: as products of matrices, faster on CPUs, or by XLA's own "
        "operator; the results agree",
    )


class ValidConv2D(hk.Module):
    """A VALID convolution with DQN Zoo's initializer, by matrix products or XLA's operator."""

    def __init__(
        self, channels: int, size: int, stride: int, with_bias: bool, formulation: str, name: str
    ):
        """Creates a layer of `channels` outputs; `formulation` is "matmul" or "lax"."""
        super().__init__(name=name)
        self._channels, self._size, self._stride = channels, size, stride
        self._with_bias = with_bias
        self._formulation = formulation
        declared.declare(self, "hidden", ("w",), ("b",) if with_bias else ())

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C], or frame stacks uint8 [B, S, H, W] in 0..255, to [B, H', W', O].

        Pixels count as 0..1.
        """
        declared.reads(self, x)
        is_frames = x.dtype == jnp.uint8
        inputs = x.shape[1] if is_frames else x.shape[-1]
        shape = (self._size, self._size, inputs, self._channels)
        init = linear.uniform_fan_in(self._size * self._size * inputs)
        w = hk.get_parameter("w", shape, init=init)
        y = self._convolve_frames(x, w) if is_frames else self._convolve(x, w)
        if self._with_bias:
            b = hk.get_parameter("b", (self._channels,), init=init)
            y = y + jnp.broadcast_to(b, y.shape)
        return y

    def _convolve(self, x: jax.Array, w: jax.Array) -> jax.Array:
        convolution = matmul_convolution if self._formulation == "matmul" else lax_convolution
        return convolution(x, w, self._stride)

    def _convolve_frames(self, frames: jax.Array, w: jax.Array) -> jax.Array:
        if self._formulation == "matmul":
            # Scaling the kernel instead of the pixels: far fewer numbers.
            return matmul_frame_convolution(frames, w / 255.0, self._stride)
        return self._convolve(frames_to_images(frames), w)


def frames_to_images(frames: jax.Array) -> jax.Array:
    """Frame stacks uint8 [B, S, H, W] to images float32 [B, H, W, S] in 0..1."""
    return jnp.moveaxis(frames, 1, -1).astype(jnp.float32) / 255.0


class ConvolutionLayer(NamedTuple):
    """A VALID convolution's number of channels, kernel size and stride."""

    channels: int
    size: int
    stride: int


def check_frames(module: str, observation: jax.Array, smallest: int) -> None:
    """Checks that a torso of convolutions can be applied to observations [B, ...].

    Args:
      module: of the torso, for the message.
      observation: of any shape and type.
      smallest: the minimum height and width that the torso needs.

    Raises:
      ConfigError: if they are not frame stacks uint8 [B, S, H, W] of that size.
    """
    if (
        observation.ndim != 4
        or observation.dtype != jnp.uint8
        or min(observation.shape[2:]) < smallest
    ):
        raise checks.ConfigError(
            f"network.torso.module = {module!r}: expected observations that are stacks of grey "
            f"pictures, uint8 [transition.frame_stack, H, W] with H and W at least {smallest}, "
            f"found {observation.dtype}{list(observation.shape[1:])}"
        )


def smallest_input(layers: Sequence[ConvolutionLayer]) -> int:
    """The height and width that consecutive convolutions reduce to one."""
    return functools.reduce(lambda n, layer: (n - 1) * layer.stride + layer.size, layers[::-1], 1)


def make_torso(
    module: str,
    layers: Sequence[ConvolutionLayer],
    nonlinear: nonlinearity.Nonlinearity,
    formulation: str,
) -> Callable[[jax.Array], jax.Array]:
    """Convolutions on frame stacks uint8 [B, S, H, W], each with a nonlinearity, flattened."""
    smallest = smallest_input(layers)

    def torso(observation: jax.Array) -> jax.Array:
        check_frames(module, observation, smallest)
        x = observation
        for i, layer in enumerate(layers):
            layer = layer._replace(channels=nonlinear.units(layer.channels))
            convolution = ValidConv2D(*layer, nonlinear.layer_has_bias, formulation, f"conv_{i}")
            x = nonlinear(convolution(x), f"conv_{i}", f"norm_{i}", convolution)
        return declared.carry(x, hk.Flatten()(x))

    return hk.to_module(torso)(name="torso")
