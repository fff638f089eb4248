// A small TCP proxy that can swallow what passes: to both sides the connection looks open.

import { connect, createServer } from "node:net";

export async function proxy(port) {
  const sockets = new Set();
  let swallowing = false;
  let target = port;
  const server = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      sockets.add(from);
      from.on("data", (data) => {
        if (!from.swallowed) to.write(data);
      });
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        if (!from.swallowed) to.destroy();
      });
      from.swallowed = swallowing;
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: server.address().port,
    /** From now on nothing passes, over connections that are there and new ones. */
    swallow() {
      swallowing = true;
      for (const socket of sockets) socket.swallowed = true;
    },
    /** New connections pass again; the old ones stay dead. */
    open() {
      swallowing = false;
    },
    /** Ends all connections; new ones go to another port. */
    turn(port) {
      target = port;
      for (const socket of sockets) socket.destroy();
    },
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
