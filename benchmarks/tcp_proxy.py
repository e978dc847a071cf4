"""A TCP proxy that can be cut, to test what happens when a network fails."""

import contextlib
import socket
import threading


class TcpProxy:
    """Forwards connections to a target, except while it is cut.

    Attributes:
      address: "127.0.0.1:port", which stays.
      target: "host:port"; may be changed, for future connections.
    """

    def __init__(self, target: str):
        """Listens on a port that is free; connects to the target when somebody connects here."""
        self.target = target
        self._sockets: list[socket.socket] = []
        # How often connections were ended: those being made meanwhile must end, too.
        self._drops = 0
        self._lock = threading.Lock()
        self._open_gate = threading.Event()
        self._open_gate.set()
        self._port = 0
        self._listen()
        self.address = f"127.0.0.1:{self._port}"

    def __enter__(self) -> "TcpProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drop(self) -> None:
        """Ends all connections and refuses new ones, until `restore`."""
        self._end(self._listener)
        with self._lock:
            self._drops += 1
            ended, self._sockets = self._sockets, []
        for connection in ended:
            self._end(connection)

    def freeze(self) -> None:
        """Accepts connections and bytes, but forwards none until `restore`, which forwards all."""
        self._open_gate.clear()

    def restore(self) -> None:
        """Lets everything through again, first what was held back."""
        self._open_gate.set()
        if self._listener.fileno() < 0:
            self._listen()

    def close(self) -> None:
        """Ends all connections."""
        self.drop()
        self._open_gate.set()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        drops = self._drops
        self._open_gate.wait()
        host, port = self.target.rsplit(":", 1)
        try:
            far = socket.create_connection((host, int(port)), 5)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        with self._lock:
            if self._drops != drops:
                self._end(near)
                self._end(far)
                return
            self._sockets += [near, far]
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                self._open_gate.wait()
                sink.sendall(content)
        self._end(sink)

    @staticmethod
    def _end(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
