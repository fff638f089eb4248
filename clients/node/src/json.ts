const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;
const LONG_INTEGER = /^-?\d{16,}$/;
/** No text of PostgreSQL's jsonb contains it. */
const MARK = "\\u0000";

/** Parses JSON and freezes what comes of it: it is shared between requests. An integer that a `number` cannot hold exactly
 *  becomes a `bigint`, so that two different ids never become the same. */
export function parseExact(text: string): unknown {
  if (!/\d{16}/.test(text)) return settle(JSON.parse(text));
  return settle(JSON.parse(text.replace(TOKENS, (token) => (LONG_INTEGER.test(token) ? `"${MARK}${token}"` : token))));
}

function settle(value: unknown): unknown {
  if (typeof value === "string") return value.startsWith("\0") ? integer(value.slice(1)) : value;
  if (typeof value !== "object" || value === null) return value;
  for (const [name, member] of Object.entries(value)) {
    const settled = settle(member);
    // Not by assignment: the name may be __proto__.
    if (settled !== member) Object.defineProperty(value, name, { value: settled, enumerable: true });
  }
  return Object.freeze(value);
}

function integer(digits: string): number | bigint {
  const exact = BigInt(digits);
  const number = Number(exact);
  return Number.isSafeInteger(number) ? number : exact;
}

/** JSON with the members of every object in one order, so that equal objects are equal texts. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}
