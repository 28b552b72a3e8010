import { SvelteMap } from "svelte/reactivity";
import { address, asProblem, json, Problem, request } from "../shell/api";
import { events } from "../shell/events";
import { latest } from "../shell/latest";
import type { Answer, Sheet } from "./inside";

/** The studio keeps this look no longer: others took its place, or it was started again. */
const GONE = 410;

export interface Progress {
  done: number;
  total: number;
  words: string;
}

type Query = Readonly<Record<string, string | number>>;

/** One picture in one network: what the studio told of it so far, and questions about it. */
export class Looking {
  answer: Answer | undefined = $state.raw();
  /** Of the strip, by layer. */
  readonly sheets = new SvelteMap<string, Sheet>();
  problem: Problem | undefined = $state.raw();
  /** The picture has been sent, and not everything is there. */
  busy = $state(false);
  readonly #latest = latest();
  #given: { model: string; picture: Blob } | undefined;
  #returning: Promise<void> | undefined;

  /** Looks at another picture, or with another network; what was under way is given up. */
  async open(model: string, picture: Blob): Promise<void> {
    this.#given = { model, picture };
    this.busy = true;
    this.problem = undefined;
    try {
      const whole = await this.#latest(async (signal) => {
        for await (const { name, data } of events<unknown>(address("/api/inside/look", { model }), { body: picture, signal })) {
          if (signal.aborted) return false;
          if (name === "answer") {
            this.sheets.clear();
            this.answer = data as Answer;
          } else if (name === "maps") this.sheets.set((data as { layer: string }).layer, data as Sheet);
          else if (name === "failed") throw new Problem((data as Problem & { what: string }).what, data as Problem);
        }
        return true;
      });
      // Otherwise another one is under way, or the screen is gone.
      if (whole) this.busy = false;
    } catch (error) {
      this.answer = undefined;
      this.sheets.clear();
      this.problem = asProblem(error);
      this.busy = false;
    }
  }

  cancel(): void {
    this.#latest.cancel();
    this.busy = false;
  }

  json<T>(path: string, query: Query, signal: AbortSignal): Promise<T> {
    return this.ask((look) => json<T>(address(path, { look, ...query }), { signal }));
  }

  async floats(path: string, query: Query, signal: AbortSignal): Promise<Float32Array> {
    const answer = await this.ask((look) => request(address(path, { look, ...query }), { signal }));
    return new Float32Array(await answer.arrayBuffer());
  }

  /** Long work, whose result is streamed behind its progress. */
  work<T>(path: string, query: Query, signal: AbortSignal, tell: (progress: Progress) => void): Promise<T> {
    return this.ask(async (look) => {
      for await (const { name, data } of events<unknown>(address(path, { look, ...query }), { signal })) {
        if (name === "progress") tell(data as Progress);
        else if (name === "failed") throw new Problem((data as Problem & { what: string }).what, data as Problem);
        else return data as T;
      }
      throw new Problem("The studio broke off", { fix: "ask once more" });
    });
  }

  /** Asks with the look's id; where the studio has forgotten it, it is shown the picture once more. */
  async ask<T>(work: (look: string) => Promise<T>): Promise<T> {
    try {
      return await work(this.answer?.look ?? "");
    } catch (error) {
      const given = this.#given;
      if (!(error instanceof Problem) || error.status !== GONE || !given) throw error;
      this.#returning ??= this.open(given.model, given.picture).finally(() => (this.#returning = undefined));
      await this.#returning;
      return work(this.answer?.look ?? "");
    }
  }

  /** Another one: what was asked of the one before is to be asked again. */
  get look(): string {
    return this.answer?.look ?? "";
  }
}
