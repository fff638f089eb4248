import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";

const derive = promisify(scrypt);

export async function hashOf(password) {
  const salt = randomBytes(16);
  return `${salt.toString("base64")}$${(await derive(password, salt, 32)).toString("base64")}`;
}

/** Takes as long for nobody as for somebody. */
export async function matches(password, hash = NOBODY) {
  const [salt, expected] = hash.split("$").map((part) => Buffer.from(part, "base64"));
  return timingSafeEqual(await derive(password, salt, 32), expected);
}

const NOBODY = await hashOf(randomBytes(16).toString("base64"));
