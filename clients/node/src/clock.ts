/** Milliseconds that have passed since some moment. */
export type Clock = () => number;

/** A clock that never goes back and never loses time. The monotonic clock stands still while the machine is suspended, so
 *  it is pushed on by what the clock on the wall has run ahead of it. A wall clock that is set forward makes things end
 *  early, never late. */
export function steadyClock(monotonic: Clock = () => performance.now(), wall: Clock = () => Date.now()): Clock {
  const start = wall() - monotonic();
  let ahead = 0;
  return () => {
    const now = monotonic();
    ahead = Math.max(ahead, wall() - now - start);
    return now + ahead;
  };
}
