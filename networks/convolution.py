"""VALID convolutions written as matrix products, which on a CPU beat XLA's own operator.

A convolution of stride s with a K x K kernel is, after space-to-depth by s, one of stride 1 with an
n x n kernel, n = K/s. Two formulations of that:

* shifted products: multiply the input by all n*n kernel taps at once, then add up shifted slices of
  the product. Nothing is copied n*n times, but positions at the border are computed in vain: the
  better one for n <= 2.
* patches: gather the n*n taps of the input side by side, then one product.
"""

import haiku as hk
import jax
import jax.numpy as jnp

from networks import linear


def space_to_depth(x: jax.Array, block: int) -> jax.Array:
    """Moves blocks of space into channels: [B, H, W, C] to [B, H/b, W/b, b*b*C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // block, block, width // block, block, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // block, width // block, block * block * channels)


def frames_to_depth(frames: jax.Array) -> jax.Array:
    """Space-to-depth by 4 of frame stacks uint8: [B, S, H, W] to [B, H/4, W/4, S*4*4].

    Four pixels of a line are moved as one 32-bit word, so the stack needs no transposition by
    single bytes, and only the small uint8 array is rearranged.
    """
    batch, stack, height, width = frames.shape
    words = frames.reshape(batch, stack, height, width // 4, 4)
    words = jax.lax.bitcast_convert_type(words, jnp.uint32)
    words = words.reshape(batch, stack, height // 4, 4, width // 4).transpose(0, 2, 4, 1, 3)
    pixels = jax.lax.bitcast_convert_type(words, jnp.uint8)
    return pixels.reshape(batch, height // 4, width // 4, stack * 16)


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
    return sum(
        products[:, i : i + height, j : j + width, i * size + j]
        for i in range(size)
        for j in range(size)
    )


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

    Rows and columns that no window covers are cut off first.

    Raises:
      ValueError: if the stride does not divide the kernel's size.
    """
    size, _, channels, outputs = w.shape
    if size % stride:
        raise ValueError(f"stride {stride} must divide the kernel size {size}")
    taps = size // stride
    height, width = (n - (n - size) % stride for n in x.shape[1:3])
    w = w.reshape(taps, stride, taps, stride, channels, outputs).transpose(0, 2, 1, 3, 4, 5)
    w = w.reshape(taps, taps, stride * stride * channels, outputs)
    return stride_one_convolution(space_to_depth(x[:, :height, :width], stride), w)


def matmul_frame_convolution(frames: jax.Array, w: jax.Array) -> jax.Array:
    """A VALID stride-4 convolution of stacks uint8 [B, S, H, W] with [K, K, S, O], K, H, W in 4s.

    Raises:
      ValueError: if 4 does not divide K, H and W.
    """
    size, _, stack, outputs = w.shape
    if size % 4 or frames.shape[2] % 4 or frames.shape[3] % 4:
        raise ValueError(f"4 must divide the kernel {size} and the frames {frames.shape[2:]}")
    taps = size // 4
    w = w.reshape(taps, 4, taps, 4, stack, outputs).transpose(0, 2, 4, 1, 3, 5)
    w = w.reshape(taps, taps, stack * 16, outputs)
    return stride_one_convolution(frames_to_depth(frames).astype(w.dtype), w)


def lax_convolution(x: jax.Array, w: jax.Array, stride: int) -> jax.Array:
    """A VALID convolution of [B, H, W, C] with [K, K, C, O] by XLA's own operator."""
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
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

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C], or frame stacks uint8 [B, S, H, W] in 0..255, to [B, H', W', O].

        Pixels count as 0..1.
        """
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
        if self._formulation == "matmul" and self._stride == 4:
            # Scaling the kernel instead of the pixels: a thousand times fewer numbers.
            return matmul_frame_convolution(frames, w / 255.0)
        return self._convolve(frames_to_images(frames), w)


def frames_to_images(frames: jax.Array) -> jax.Array:
    """Frame stacks uint8 [B, S, H, W] to images float32 [B, H, W, S] in 0..1."""
    return jnp.moveaxis(frames, 1, -1).astype(jnp.float32) / 255.0
