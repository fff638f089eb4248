"""TCP in front of a server's socket, which can swallow what it is given: the connection stays, and nothing comes."""

import contextlib
import socket
import threading


class Proxy:
    def __init__(self, path):
        self.path = str(path)
        self.deaf = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.accepted = 0
        self._kept = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.accepted += 1
                if self.deaf.is_set():
                    # It is taken, and nobody answers.
                    self._kept.append(client)
                    continue
                behind = socket.socket(socket.AF_UNIX)
                try:
                    behind.connect(self.path)
                except OSError:
                    client.close()
                    continue
                for a, b in ((client, behind), (behind, client)):
                    threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                if not self.deaf.is_set():
                    b.sendall(data)
        for end in (a, b):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def hear_again(self):
        self.deaf.clear()
        for client in self._kept:
            client.close()
        self._kept.clear()

    def close(self):
        self._listening.close()
