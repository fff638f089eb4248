// Numbers that a seed repeats: mulberry32.
export function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    below: (n) => Math.floor(next() * n),
    chance: (p) => next() < p,
    of: (things) => things[Math.floor(next() * things.length)],
  };
}

export function seedOf(test) {
  const seed = Number(process.env.AUTH_EXT_SEED ?? Math.floor(Math.random() * 2 ** 32));
  test.diagnostic(`AUTH_EXT_SEED=${seed}`);
  return seed;
}
