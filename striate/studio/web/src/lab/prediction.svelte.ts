// Predict, then reveal: what is asked, what is hidden meanwhile, and the score, which lives as long as the page.

import { route } from "../shell/route.svelte";
import type { Lab } from "./lab.svelte";
import { agrees, typed } from "./numbers";
import { ASKS, question, type Ask, type Question } from "./questions";

export class Prediction {
  readonly #lab: Lab;
  readonly ask: Ask | null = $derived(ASKS.find((ask) => ask === route.query.ask) ?? null);
  readonly question: Question | null;
  /** Questions that were answered or revealed. */
  #settled: ReadonlySet<string> = $state.raw(new Set());
  /** Wrong answers and hints to the present question. */
  #tries: Readonly<{ key: string; wrong: number; hints: number; said: string }> = $state.raw({
    key: "",
    wrong: 0,
    hints: 0,
    said: "",
  });
  right = $state(0);
  asked = $state(0);

  constructor(lab: Lab) {
    this.#lab = lab;
    this.question = $derived(this.ask && lab.unit ? question(this.ask, lab.setting, lab.unit) : null);
  }

  #key(ask: Ask, filter: number, row: number, column: number): string {
    return JSON.stringify([ask, this.#lab.setting, ask === "value" ? [filter, row, column] : null]);
  }

  get #present(): string {
    const { filter, row, column } = this.#lab.at;
    return this.#key(this.ask ?? "value", filter, row, column);
  }

  get tries() {
    return this.#tries.key === this.#present ? this.#tries : { key: this.#present, wrong: 0, hints: 0, said: "" };
  }

  get settled(): boolean {
    return this.#settled.has(this.#present);
  }

  /** Whether something that is asked for may be seen: always, unless just this is the question. */
  shows(ask: Ask): boolean {
    return this.ask !== ask || this.settled;
  }

  /** Whether an output number may be seen. */
  knows(filter: number, row: number, column: number): boolean {
    return this.ask !== "value" || this.#settled.has(this.#key("value", filter, row, column));
  }

  /** Compares an answer. Returns whether it is right; null where it is not all numbers. */
  check(texts: string[]): boolean | null {
    const numbers = texts.map(typed);
    if (!this.question || this.settled) return null;
    if (numbers.some((number) => number === null)) return null;
    const right = this.question.right.every((value, i) => agrees(numbers[i] ?? NaN, value));
    if (right) this.#settle(this.tries.wrong === 0 && this.tries.hints === 0, "right");
    else this.#tries = { ...this.tries, wrong: this.tries.wrong + 1, said: "wrong" };
    return right;
  }

  hint(): void {
    this.#tries = { ...this.tries, hints: this.tries.hints + 1, said: "" };
  }

  reveal(): void {
    this.#settle(false, "revealed");
  }

  #settle(counts: boolean, said: string): void {
    this.#tries = { ...this.tries, said };
    this.#settled = new Set([...this.#settled, this.#present]);
    this.asked += 1;
    if (counts) this.right += 1;
  }

  /** The next place that is not known yet, as steps from here; null where all are. */
  get ahead(): number | null {
    for (let by = 1; by < this.#lab.places; by++) {
      const { filter, row, column } = this.#lab.placeAt((this.#lab.index + by) % this.#lab.places);
      if (!this.knows(filter, row, column)) return by;
    }
    return null;
  }
}
