/** Work of which only the latest is wanted: starting another cancels the one before.
 *
 *     const trace = latest();
 *     const graph = await trace((signal) => json<Graph>("/api/trace", { signal }));   // undefined: cancelled by a later call
 */
export interface Latest {
  <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined>;
  /** Cancels what is under way, e.g. when its component goes. */
  cancel(): void;
}

export function latest(): Latest {
  let running: AbortController | undefined;
  async function run<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    running?.abort();
    const mine = (running = new AbortController());
    try {
      const result = await work(mine.signal);
      return mine.signal.aborted ? undefined : result;
    } catch (error) {
      if (mine.signal.aborted) return undefined;
      throw error;
    }
  }
  return Object.assign(run, { cancel: () => running?.abort() });
}
