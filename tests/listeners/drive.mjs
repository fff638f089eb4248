// What the tests ask a process that caches; see drive.py.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { Listener } from "./listener.mjs";

// Unlike import, require looks where NODE_PATH says.
const pg = createRequire(import.meta.url)("pg");
const [conninfo, maxStaleness] = process.argv.slice(2);
const words = conninfo.split(" ").map((word) => word.split("="));
const { host, port, user, dbname } = Object.fromEntries(words);
const config = { host, port, user, database: dbname };
const listener = new Listener(pg.Client, config, { maxStaleness: 1000 * maxStaleness });

const loader = new pg.Pool({ ...config, max: 1 });
loader.on("error", () => {}); // the pool makes another

async function load(kind, id) {
  const { rows } = await loader.query("SELECT load($1, $2)", [kind, id]);
  return rows[0].load;
}

const commands = {
  async get(kind, id) {
    let cached = true;
    const row = await listener.get(kind, id, (id) => {
      cached = false;
      return load(kind, id);
    });
    return { row, cached };
  },
  peek: (kind, id) => listener.peek(kind, id),
  sync: () => listener.sync(),
  fresh: () => listener.fresh,
};

for await (const line of createInterface({ input: process.stdin })) {
  const [number, command, ...words] = line.split(" ");
  Promise.resolve(commands[command](...words))
    .catch((error) => ({ error: error.message }))
    .then((result) => console.log(number, JSON.stringify(result)));
}
process.exit();
