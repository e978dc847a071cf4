"""What a replay server does with inserts, in this process: it can be cut off, killed, restored."""

import queue
import threading
import types
from typing import NamedTuple

import numpy as np

from replay.reverb import checkpoint_mark
from replay.reverb.wire import codec, messages


class Saved(NamedTuple):
    """A checkpoint: items by key, the oldest first, and the mark."""

    items: dict
    mark: checkpoint_mark.Mark


class MemoryServer:
    """One table that drops its oldest items, and the streams into it.

    Attributes:
      items: the number of each item by its key, the oldest first.
      confirms: whether it confirms what comes; else when it is told to.
    """

    def __init__(self, capacity):
        self.capacity = capacity
        self.number = 1
        self.items, self.mark = {}, checkpoint_mark.Mark()
        self.saved = Saved({}, checkpoint_mark.Mark())
        self.confirms = True
        self.lock = threading.RLock()
        self.calls = []

    def connect(self, stop):
        del stop
        return Client(self)

    def confirm(self):
        """Confirms all that has come."""
        with self.lock:
            self.confirms = True
            for call in self.calls:
                call.confirm()

    def cut(self):
        """Ends all streams; confirmations on their way are lost."""
        with self.lock:
            self.confirms = True
            for call in self.calls:
                call.events.put(None)
            self.calls = []

    def checkpoint(self, mark):
        with self.lock:
            self.mark = mark
            self.saved = Saved(dict(self.items), mark)

    def restart(self):
        """It is killed, and another has what was saved."""
        with self.lock:
            self.cut()
            self.number += 1
            self.items, self.mark = dict(self.saved.items), self.saved.mark

    def clear(self, mark):
        with self.lock:
            self.items = {}
            self.checkpoint(mark)

    def insert(self, key, number):
        if key not in self.items:
            self.items[key] = number
            for old in list(self.items)[: -self.capacity]:
                del self.items[old]


class Client:
    """What a writer asks of one."""

    address = "memory"

    def __init__(self, server):
        self.server = server

    def incarnation(self, timeout_s=None):
        del timeout_s
        return self.server.number

    def stream(self, method, requests):
        assert method == "InsertStream"
        call = Call(self.server, requests)
        with self.server.lock:
            self.server.calls.append(call)
        return call

    def close(self):
        pass


class Call:
    """A stream; the requests come by a thread of its own, so that it can end amid them."""

    def __init__(self, server, requests):
        self.server = server
        self.events = queue.SimpleQueue()
        self.chunks = {}
        self.unconfirmed = []
        threading.Thread(target=self._pump, args=(requests,), daemon=True).start()

    def _pump(self, requests):
        for request in requests:
            self.events.put(request)
        self.events.put(None)

    def cancel(self):
        self.events.put(None)

    def confirm(self):
        self.events.put("confirm")

    def __iter__(self):
        while (event := self.events.get()) is not None:
            with self.server.lock:
                if self not in self.server.calls:
                    return
                if event != "confirm":
                    self._take(event)
                if self.server.confirms and self.unconfirmed:
                    keys, self.unconfirmed = self.unconfirmed, []
                    yield types.SimpleNamespace(keys=keys)

    def _take(self, request):
        if isinstance(request, bytes):
            request = messages.InsertRequest.FromString(request)
        self.chunks |= {chunk.key: chunk for chunk in request.chunks}
        for item in request.items:
            shared, own = codec.Decoder().columns(item.trajectory, self.chunks)
            number = int(own)
            assert shared.tolist() == list(range(number + 1 - len(shared), number + 1))
            self.server.insert(item.key, number)
            self.unconfirmed.append(item.key)
        # A real server ends the stream if it is to hold what it was not sent.
        assert set(request.keep) <= set(self.chunks)
        self.chunks = {key: self.chunks[key] for key in request.keep}


def number_array(begin, end):
    """The chunk of steps [begin, end), each its own number."""
    return np.arange(begin, end, dtype=np.int32)
