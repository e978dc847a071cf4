"""One update of Rainbow in plain NumPy: the network and its hand-written backward pass, C51, Adam,
projection. Written from the papers' equations, for comparison with the project's own code.

Parameters are {module: {name: array}} with the project's names. Everything is float64.
"""

from typing import NamedTuple

import numpy as np

CONVOLUTION_STRIDES = (4, 2, 1)
STREAMS = ("value", "advantage")
HIDDEN_MODULES = (
    "torso/conv_0",
    "torso/conv_1",
    "torso/conv_2",
    "value_hidden",
    "advantage_hidden",
)
INNER_NORMS = ("torso/norm_0", "torso/norm_1", "torso/norm_2")


class Norm(NamedTuple):
    """LayerNorm over all axes but the batch's, or over channels; None in its place for no norm."""

    axes: str
    epsilon: float

    def over(self, x):
        return tuple(range(1, x.ndim)) if self.axes == "all" else (x.ndim - 1,)


# Layers: each forward returns its output and what its backward needs; each backward takes that and
# the loss's gradient by the output, and returns that by the input and those by the parameters.


def convolution(x, params, stride):
    w = params["w"]
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    y = np.einsum("bhwcij,ijco->bhwo", windows, w) + params.get("b", 0.0)
    return y, (x.shape, windows, params, stride)


def convolution_backward(cache, dy):
    shape, windows, params, stride = cache
    w, dx = params["w"], np.zeros(shape)
    _, height, width, _ = dy.shape
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            rows = slice(i, i + stride * height, stride)
            columns = slice(j, j + stride * width, stride)
            dx[:, rows, columns] += dy @ w[i, j].T
    grads = {"w": np.einsum("bhwcij,bhwo->ijco", windows, dy)}
    if "b" in params:
        grads["b"] = dy.sum((0, 1, 2))
    return dx, grads


def layer_norm(x, params, norm):
    axes = norm.over(x)
    deviation = x - x.mean(axes, keepdims=True)
    root = np.sqrt((deviation**2).mean(axes, keepdims=True) + norm.epsilon)
    normalized = deviation / root
    return normalized * params["scale"] + params["offset"], (normalized, root, params, axes)


def layer_norm_backward(cache, dy):
    normalized, root, params, axes = cache
    batch_axes = tuple(range(dy.ndim - 1))
    grads = {"scale": (dy * normalized).sum(batch_axes), "offset": dy.sum(batch_axes)}
    dn = dy * params["scale"]
    along = (dn * normalized).mean(axes, keepdims=True)
    return (dn - dn.mean(axes, keepdims=True) - normalized * along) / root, grads


def noisy(x, params, noise):
    """With `noise` = e_in [1, I], e_out [1, O], one draw for the batch."""
    outer = noise[0].T * noise[1]
    w = params["mu_w"] + params["sigma_w"] * outer
    y = x @ w + params.get("mu_b", 0.0) + params.get("sigma_b", 0.0) * noise[1]
    return y, (x, w, outer, params, noise)


def noisy_backward(cache, dy):
    x, w, outer, params, noise = cache
    dw = x.T @ dy
    grads = {"mu_w": dw, "sigma_w": dw * outer}
    biases = {"mu_b": dy.sum(0), "sigma_b": (dy * noise[1]).sum(0)}
    grads.update({name: grad for name, grad in biases.items() if name in params})
    return dy @ w.T, grads


def relu(x):
    return np.maximum(x, 0), x > 0


# The network.


class Network(NamedTuple):
    """Nature torso and noisy dueling C51 head; `norm` may be None."""

    norm: Norm | None
    num_actions: int

    def forward(self, params, frames, noise):
        """Logits [B, A, atoms] of frames [B, S, H, W], and what `backward` needs.

        `noise` is a list of (e_in, e_out): value hidden and output, advantage hidden and output.
        """
        x = np.moveaxis(frames, 1, -1) / 255.0
        caches = {}
        for i, stride in enumerate(CONVOLUTION_STRIDES):
            name = f"torso/conv_{i}"
            x, caches[name] = convolution(x, params[name], stride)
            x = self._nonlinearity(x, f"torso/norm_{i}", params, caches)
        features = x.reshape(x.shape[0], -1)
        caches["features"] = x.shape
        outputs = {}
        for k, stream in enumerate(STREAMS):
            x = features
            for layer, draw in zip(("hidden", "output"), noise[2 * k : 2 * k + 2]):
                name = f"{stream}_{layer}"
                x, caches[name] = noisy(x, params[name], draw)
                if layer == "hidden":
                    x = self._nonlinearity(x, f"{stream}_norm", params, caches)
            outputs[stream] = x
        advantage = outputs["advantage"].reshape(len(frames), self.num_actions, -1)
        value = outputs["value"][:, None]
        return value + advantage - advantage.mean(1, keepdims=True), caches

    def backward(self, caches, d_logits):
        """Gradients by the parameters, given that by the logits."""
        grads = {}
        d_advantage = d_logits - d_logits.mean(1, keepdims=True)
        d_outputs = {
            "value": d_logits.sum(1),
            "advantage": d_advantage.reshape(len(d_logits), -1),
        }
        d_features = 0.0
        for stream in STREAMS:
            dx = d_outputs[stream]
            for layer in ("output", "hidden"):
                if layer == "hidden":
                    dx = self._nonlinearity_backward(dx, f"{stream}_norm", caches, grads)
                name = f"{stream}_{layer}"
                dx, grads[name] = noisy_backward(caches[name], dx)
            d_features = d_features + dx
        dx = d_features.reshape(caches["features"])
        for i in reversed(range(len(CONVOLUTION_STRIDES))):
            dx = self._nonlinearity_backward(dx, f"torso/norm_{i}", caches, grads)
            name = f"torso/conv_{i}"
            dx, grads[name] = convolution_backward(caches[name], dx)
        return grads

    def _nonlinearity(self, x, name, params, caches):
        """[LayerNorm and] ReLU."""
        if self.norm:
            x, caches[name] = layer_norm(x, params[name], self.norm)
        x, caches[f"{name} relu"] = relu(x)
        return x

    def _nonlinearity_backward(self, dx, name, caches, grads):
        dx = dx * caches[f"{name} relu"]
        if self.norm:
            dx, grads[name] = layer_norm_backward(caches[name], dx)
        return dx


# The loss.


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def project_distribution(z, p, atoms):
    """Shares each mass p at z among the two atoms next to it (Bellemare et al. 2017, eq. 7)."""
    target, spacing = np.zeros_like(atoms), atoms[1] - atoms[0]
    for z_j, p_j in zip(np.clip(z, atoms[0], atoms[-1]), p):
        place = (z_j - atoms[0]) / spacing
        below = min(int(np.floor(place)), len(atoms) - 2)
        target[below] += p_j * (below + 1 - place)
        target[below + 1] += p_j * (place - below)
    return target


def loss_and_gradient(network, params, target_params, batch, weights, noise, atoms):
    """The weighted double-Q C51 loss, its gradients, and each row's loss.

    `noise` has three lists of draws: online network at s_tm1, online at s_t, target at s_t.
    """
    logits_tm1, caches = network.forward(params, batch.s_tm1, noise[0])
    selector, _ = network.forward(params, batch.s_t, noise[1])
    target, _ = network.forward(target_params, batch.s_t, noise[2])
    best = (softmax(selector) @ atoms).argmax(1)
    losses, d_logits = np.zeros(len(best)), np.zeros_like(logits_tm1)
    for b, (action, r_t, discount_t) in enumerate(zip(batch.a_tm1, batch.r_t, batch.discount_t)):
        p_target = softmax(target[b, best[b]])
        projected = project_distribution(r_t + discount_t * atoms, p_target, atoms)
        logits = logits_tm1[b, action]
        losses[b] = -np.sum(projected * log_softmax(logits))
        d_logits[b, action] = weights[b] / len(best) * (softmax(logits) - projected)
    return np.mean(losses * weights), network.backward(caches, d_logits), losses


# The optimizer.


def tree_map(function, *trees):
    return {
        module: {name: function(*(tree[module][name] for tree in trees)) for name in leaves}
        for module, leaves in trees[0].items()
    }


def norm_of(leaves):
    """The Frobenius norm of a dict of arrays as one vector."""
    return np.sqrt(sum(np.sum(x**2) for x in leaves.values()))


def global_norm(tree):
    return np.sqrt(sum(norm_of(leaves) ** 2 for leaves in tree.values()))


class Adam(NamedTuple):
    """Adam (Kingma & Ba 2015) behind clipping by the global norm."""

    count: int
    mu: dict
    nu: dict

    @classmethod
    def init(cls, params):
        return cls(0, tree_map(np.zeros_like, params), tree_map(np.zeros_like, params))

    def update(self, params, grads, optimizer):
        """New parameters and state, by the config's section `optimizer`."""
        b1, b2, limit = optimizer.kwargs.b1, optimizer.kwargs.b2, optimizer.max_gradient_norm
        factor = min(1.0, limit / global_norm(grads))
        grads = tree_map(lambda g: factor * g, grads)
        count = self.count + 1
        mu = tree_map(lambda m, g: b1 * m + (1 - b1) * g, self.mu, grads)
        nu = tree_map(lambda v, g: b2 * v + (1 - b2) * g**2, self.nu, grads)

        def step(p, m, v):
            m, v = m / (1 - b1**count), v / (1 - b2**count)
            return p - optimizer.learning_rate * m / (np.sqrt(v) + optimizer.kwargs.eps)

        return tree_map(step, params, mu, nu), Adam(count, mu, nu)


def project_weights(params, radii):
    """Rescales the modules of `radii`, each as one vector, to their radii."""
    projected = dict(params)
    for module, radius in radii.items():
        factor = radius / norm_of(params[module])
        projected[module] = {name: factor * x for name, x in params[module].items()}
    return projected


def radii_of(params, norm):
    """Initial norms of the hidden layers; roots of the number of scales of inner norms."""
    radii = {module: norm_of(params[module]) for module in HIDDEN_MODULES}
    if norm:
        radii |= {module: params[module]["scale"].size ** 0.5 for module in INNER_NORMS}
    return radii
