import { asProblem, type Problem } from "./api";
import { latest } from "./latest";

/** What a screen asked the studio for: the answer, or why there is none. Asking again cancels what was under way.
 *
 * The last answer stays in sight until the next one is there. */
export class Asked<T> {
  value: T | undefined = $state.raw();
  problem: Problem | undefined = $state.raw();
  busy = $state(false);
  readonly #latest = latest();

  async ask(work: (signal: AbortSignal) => Promise<T>): Promise<void> {
    this.busy = true;
    try {
      const value = await this.#latest(async (signal) => ({ answer: await work(signal) }));
      if (!value) return;
      this.value = value.answer;
      this.problem = undefined;
    } catch (error) {
      this.problem = asProblem(error);
    }
    this.busy = false;
  }

  /** Nothing is asked for any more. */
  forget(): void {
    this.#latest.cancel();
    this.value = this.problem = undefined;
    this.busy = false;
  }
}
