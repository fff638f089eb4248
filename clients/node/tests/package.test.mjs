// The packed package, as a new user gets it: installed into an empty project, where the README's first example runs as
// printed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Server } from "./server.mjs";

const HERE = dirname(dirname(fileURLToPath(import.meta.url)));
const run = promisify(execFile);

test("the packed package installs into an empty project, and its first example runs as printed", async (t) => {
  const project = mkdtempSync(join(process.env.AUTH_EXT_RUN, "project-"));
  mkdirSync(join(project, "tarball"));
  const { stdout: packed } = await run("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", join(project, "tarball")], { cwd: HERE });
  const [{ filename, files }] = JSON.parse(packed);
  assert.ok(files.every(({ path }) => /^(dist\/|LICENSE$|README\.md$|package\.json$)/.test(path)), "nothing but what is used");
  writeFileSync(join(project, "package.json"), '{"type": "module", "private": true}');
  const { version } = JSON.parse(readFileSync(join(HERE, "node_modules/pg/package.json"), "utf8"));
  const cache = process.env.AUTH_EXT_NPM ? ["--offline", "--cache", process.env.AUTH_EXT_NPM] : [];
  await run("npm", ["install", ...cache, "--no-audit", "--no-fund", `./tarball/${filename}`, `pg@${version}`], { cwd: project });

  const server = await Server.start("package");
  t.after(() => server.stop());
  const pool = await server.database("app");
  t.after(() => pool.end());
  const readme = readFileSync(join(HERE, "README.md"), "utf8");
  const [, program, printed] = /```js\n([^]*?)```\n\n((?: {4}.*\n)+)/.exec(readme);
  writeFileSync(join(project, "first.js"), program);
  const DATABASE_URL = `postgres://postgres@127.0.0.1:${server.port}/app`;
  const { stdout } = await run(process.execPath, ["first.js"], { cwd: project, env: { ...process.env, DATABASE_URL } });
  assert.equal(stdout, printed.replaceAll(/^ {4}/gm, ""));

  // Its types are there, and say what is wrong.
  const wrong = '// @ts-expect-error\nnew Refused("revoked").reason = "another";\n';
  writeFileSync(join(project, "typed.ts"), program.replaceAll("process.env.DATABASE_URL", '""') + wrong);
  const flags = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "typed.ts"];
  await run(join(HERE, "node_modules/.bin/tsc"), flags, { cwd: project });
});
