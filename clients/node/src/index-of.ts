/** Things by a name that several may share. Most names have one thing, which is kept without a set around it. */
export class IndexOf<T extends object> {
  readonly #things = new Map<string, T | Set<T>>();

  add(name: string, thing: T): void {
    const there = this.#things.get(name);
    if (there === undefined) this.#things.set(name, thing);
    else if (there instanceof Set) there.add(thing);
    else this.#things.set(name, new Set([there, thing]));
  }

  remove(name: string, thing: T): void {
    const there = this.#things.get(name);
    if (there instanceof Set) {
      there.delete(thing);
      if (there.size === 0) this.#things.delete(name);
    } else if (there === thing) {
      this.#things.delete(name);
    }
  }

  /** A copy: what is done with them may remove them. */
  get(name: string): T[] {
    const there = this.#things.get(name);
    if (there === undefined) return [];
    return there instanceof Set ? [...there] : [there];
  }

  clear(): void {
    this.#things.clear();
  }
}
