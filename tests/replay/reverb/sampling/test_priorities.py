"""Stored weights against the probabilities that they shall give, and their way to the server."""

import threading
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest

from core import finite
from replay.reverb import wire
from replay.reverb.sampling import batches, priorities
from tests.replay.reverb import replay_server

TABLE = replay_server.transitions_table(1000)


class Table:
    """What a server does: draws by stored weights and reports the probabilities."""

    def __init__(self, stored):
        self.stored = np.array(stored, float)
        self.random = np.random.RandomState(0)

    def draw(self, rows):
        rows = np.asarray(rows)
        probabilities = self.stored / max(self.stored.sum(), 1e-300)
        return batches.DrawnBatch(
            transition=None,
            keys=rows.astype(np.uint64),
            probabilities=probabilities[rows].astype(np.float32),
            weights=self.stored[rows],
            table_size=len(self.stored),
        )

    def sample(self, batch_size):
        probabilities = self.stored / self.stored.sum()
        return self.draw(self.random.choice(len(self.stored), batch_size, p=probabilities))

    def update(self, weights, batch, new_priorities):
        weights.observe(batch)
        self.stored[batch.keys] = weights.update(batch.keys, batch.weights, new_priorities)


def test_an_update_of_everything_gives_the_exact_probabilities():
    """(1 - u) w / sum(w) + u / N, zeros included, whatever was stored before."""
    weights = priorities.SamplingWeights(0.5, 0.2)
    table = Table([1, 2, 0.5, 1, 9])
    new = np.array([0, 4, 9, 0.25, 1])
    table.update(weights, table.draw(range(5)), new)
    expected = 0.8 * new**0.5 / np.sum(new**0.5) + 0.2 / 5
    np.testing.assert_allclose(table.stored / table.stored.sum(), expected, rtol=1e-6)
    assert weights.mean == pytest.approx(np.mean(new**0.5), rel=1e-6)
    assert weights.largest == 9


def test_the_mean_follows_the_table():
    """Updates of 32 of 500, and new ones: the estimate stays near the mean of p**a."""
    weights = priorities.SamplingWeights(0.5, 0.1)
    random = np.random.RandomState(1)
    table = Table(np.ones(500))
    current = np.ones(500)
    for t in range(300):
        new = random.gamma(2.0, size=32)
        batch = table.sample(32)
        table.update(weights, batch, new)
        for key, priority in zip(batch.keys.tolist(), new):
            same = batch.keys == key
            current[key] = max(new[same]) ** 0.5 if same.sum() > 1 else priority**0.5
        assert weights.mean == pytest.approx(current.mean(), rel=0.02)
        if t % 10 == 0:
            current[t] = weights.largest**0.5
            table.stored[t] = weights.of_new()
    expected = 0.9 * current / current.sum() + 0.1 / 500
    np.testing.assert_allclose(table.stored / table.stored.sum(), expected, rtol=0.05)


def test_of_equal_keys_the_largest_priority_counts_once():
    weights = priorities.SamplingWeights(1.0, 0.5)
    table = Table([1, 1, 1, 1])
    batch = table.draw([2, 0, 2, 2])
    weights.observe(batch)
    stored = weights.update(batch.keys, batch.weights, np.array([1.0, 3.0, 5.0, 2.0]))
    # The mean of 3, 1, 5, 1 is 2.5.
    assert stored.tolist() == [3.75, 2.75, 3.75, 3.75]


def test_new_transitions_weigh_as_the_largest_priority_seen():
    weights = priorities.SamplingWeights(0.5, 0.5)
    assert (weights.largest, weights.mean, weights.of_new()) == (1, 1, 1)
    table = Table([1, 1])
    table.update(weights, table.draw([0]), np.array([9.0]))
    table.update(weights, table.draw([0]), np.array([1.0]))
    assert weights.largest == 9
    assert weights.of_new() == pytest.approx(0.5 * 3 + 0.5 * 1)
    other = priorities.SamplingWeights(0.5, 0.5)
    other.restore(weights.largest, weights.mean)
    assert other.of_new() == weights.of_new()
    weights.reset()
    assert (weights.largest, weights.mean, weights.of_new()) == (1, 1, 1)


def test_weights_that_are_all_zero():
    """The server draws uniformly then; nothing is divided by zero."""
    weights = priorities.SamplingWeights(0.5, 0.1)
    table = Table([1, 1])
    table.update(weights, table.draw([0, 1]), np.zeros(2))
    assert table.stored.tolist() == [0, 0]
    batch = table.draw([0])._replace(probabilities=np.float32([0.5]))
    weights.observe(batch)
    assert weights.mean == 0
    assert weights.update(batch.keys, batch.weights, np.array([4.0])) == pytest.approx(1.9)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.nan, finite.NotFiniteError, r"priorities \[1\] = nan: expected a finite number"),
        (np.inf, finite.NotFiniteError, r"priorities \[1\] = inf: expected a finite number"),
        (-1.0, ValueError, "priority = -1.0: expected a finite number >= 0"),
    ],
)
def test_what_is_no_priority_is_refused_and_changes_nothing(bad, error, message):
    weights = priorities.SamplingWeights(0.5, 0.0)
    batch = Table([1, 1]).draw([0, 1])
    with pytest.raises(error, match=message):
        weights.update(batch.keys, batch.weights, np.array([2.0, bad]))
    assert (weights.largest, weights.mean) == (1, 1)


class FakeClient:
    """Keeps what it is told; waits for `go` and raises `error`, if there is one."""

    address = "nowhere:1"

    def __init__(self):
        self.sent = []
        self.go = threading.Event()
        self.go.set()
        self.called = threading.Event()
        self.error = None

    def update_priorities(self, table, keys, values):
        self.called.set()
        self.go.wait(600)
        if self.error:
            raise self.error
        self.sent.append((table, dict(zip(keys, values))))


@pytest.fixture
def sending():
    client = FakeClient()
    weights = priorities.SamplingWeights(0.5, 0.0)
    sender = priorities.PrioritySender(client, "t", weights, max_queue=2)
    yield types.SimpleNamespace(client=client, weights=weights, sender=sender)
    client.go.set()
    sender.close()


@pytest.mark.parametrize(
    "values", [np.float32([4, 9]), jnp.array([4.0, 9.0])], ids=["numpy", "jax"]
)
def test_priorities_are_sent_as_weights(sending, values):
    sending.sender.put(Table([1, 1]).draw([1, 0]), values)
    sending.sender.drain(timeout_s=600)
    assert sending.client.sent == [("t", {1: 2.0, 0: 3.0})]
    assert sending.weights.largest == 9


def test_put_waits_for_room_and_batches_go_in_order(sending):
    batch = Table([1, 1, 1, 1]).draw([0])
    sending.client.go.clear()
    for i in range(2):
        sending.sender.put(batch, np.array([1.0 + i]))
        sending.client.called.wait(600)
    begin = time.monotonic()
    with pytest.raises(wire.WireTimeoutError, match=r"priorities to nowhere:1: 2 batches left"):
        sending.sender.put(batch, np.array([7.0]), timeout_s=0.1)
    with pytest.raises(wire.WireTimeoutError, match="2 batches left"):
        sending.sender.drain(timeout_s=0.1)
    assert time.monotonic() - begin < 5
    sending.client.go.set()
    sending.sender.drain(timeout_s=600)
    sending.sender.put(batch, np.array([3.0]), timeout_s=600)
    sending.sender.drain(timeout_s=600)
    assert [list(sent.values()) for _, sent in sending.client.sent] == [[1], [2**0.5], [3**0.5]]


class Computed:
    """An array as JAX has it, computed or not."""

    def __init__(self, values, is_ready=True):
        self.values, self.ready = values, threading.Event()
        if is_ready:
            self.ready.set()

    def is_ready(self):
        return self.ready.is_set()

    def __array__(self, dtype=None, copy=None):
        assert self.ready.wait(600)
        return np.array(self.values, dtype)


def test_what_is_computed_by_then_goes_in_one_call_the_newest_of_an_item_counts():
    client, weights = FakeClient(), priorities.SamplingWeights(0.5, 0.0)
    client.go.clear()
    late = Computed([36.0], is_ready=False)
    table = Table([1, 1, 1, 1])
    with priorities.PrioritySender(client, "t", weights, max_queue=5) as sender:
        sender.put(table.draw([0]), np.array([4.0]))
        client.called.wait(600)
        sender.put(table.draw([1, 0]), np.array([9.0, 16.0]))
        sender.put(table.draw([0]), Computed([25.0]))
        sender.put(table.draw([3]), late)
        client.go.set()
        with pytest.raises(wire.WireTimeoutError, match="1 batches left"):
            sender.drain(timeout_s=1)
        assert client.sent == [("t", {0: 2.0}), ("t", {1: 3.0, 0: 5.0})]
        late.ready.set()
        sender.drain(timeout_s=600)
    assert client.sent[2:] == [("t", {3: 6.0})]
    assert weights.largest == 36


def test_what_went_wrong_is_raised_by_the_next_call_and_all_later_ones(sending):
    batch = Table([1, 1]).draw([0])
    sending.client.error = wire.WireUnavailableError("gone")
    sending.sender.put(batch, np.ones(1))
    for _ in range(2):
        with pytest.raises(wire.WireUnavailableError, match="gone"):
            sending.sender.drain(timeout_s=600)
        with pytest.raises(wire.WireUnavailableError, match="gone"):
            sending.sender.put(batch, np.ones(1))


def test_a_wait_ends_with_the_error(sending):
    """Not with its timeout, also if the queue is full."""
    batch = Table([1, 1]).draw([0])
    sending.client.go.clear()
    sending.client.error = wire.WireUnavailableError("gone")
    for _ in range(2):
        sending.sender.put(batch, np.ones(1))
    threading.Timer(0.2, sending.client.go.set).start()
    begin = time.monotonic()
    with pytest.raises(wire.WireUnavailableError, match="gone"):
        sending.sender.put(batch, np.ones(1), timeout_s=600)
    assert time.monotonic() - begin < 10


def test_what_is_no_priority_is_told(sending):
    sending.sender.put(Table([1, 1]).draw([0]), jnp.array([np.nan]))
    with pytest.raises(finite.NotFiniteError, match=r"priorities \[0\] = nan"):
        sending.sender.drain(timeout_s=600)
    assert not sending.client.sent


def test_a_closed_sender_does_not_wait_for_its_batches(sending):
    batch = Table([1, 1]).draw([0])
    sending.client.go.clear()
    sending.sender.put(batch, np.ones(1))
    sending.client.called.wait(600)
    sending.sender.put(batch, np.ones(1))
    threading.Timer(0.2, sending.client.go.set).start()
    begin = time.monotonic()
    sending.sender.close()
    assert time.monotonic() - begin < 10
    assert len(sending.client.sent) == 1
    with pytest.raises(ValueError, match="after close"):
        sending.sender.put(batch, np.ones(1))


@replay_server.needs_server
def test_the_server_draws_by_what_was_sent(server):
    """Ten items, all of one update: (1 - u) w / sum(w) + u / N."""
    with wire.Client(server.address) as client:
        client.reset(TABLE)
        with wire.Writer(client) as writer:
            items = [writer.arrays(TABLE, [np.float32(i)], 1.0) for i in range(10)]
            keys = writer.insert(items)
            writer.flush()
        batch = batches.DrawnBatch(
            None, np.array(keys, np.uint64), np.full(10, 0.1, np.float32), np.ones(10), 10
        )
        weights = priorities.SamplingWeights(0.5, 0.2)
        with priorities.PrioritySender(client, TABLE, weights) as sender:
            sender.put(batch, np.arange(10.0) ** 2)
            sender.drain()
        with wire.Sampler(client, TABLE, max_in_flight=200) as sampler:
            found = {x.key: x.probability for x in sampler.take(200, ask_more=False)}
        for key, probability in found.items():
            expected = 0.8 * keys.index(key) / 45 + 0.02
            assert probability == pytest.approx(expected, rel=1e-6)
        assert keys[9] in found
