/** Requests to the studio: the cookie goes along by itself, and every failure has words that a reader can act on. */

import { session } from "./session.svelte";

/** What went wrong, as the server (or this page) tells it. */
export class Problem extends Error {
  readonly where: string | null;
  readonly why: string | null;
  readonly fix: string | null;
  readonly status: number;

  constructor(what: string, more: { where?: string | null; why?: string | null; fix?: string | null; status?: number } = {}) {
    super(what);
    this.where = more.where ?? null;
    this.why = more.why ?? null;
    this.fix = more.fix ?? null;
    this.status = more.status ?? 0;
  }
}

export interface Options {
  /** Sent as JSON; a Blob (a file) as it is. The request is then a POST. */
  body?: unknown;
  method?: "GET" | "POST" | "PUT" | "DELETE";
  signal?: AbortSignal;
}

/** A path with parameters, escaped. */
export function address(path: string, query: Readonly<Record<string, string | number | boolean | undefined>> = {}): string {
  const given = Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]));
  const search = new URLSearchParams(given).toString();
  return search ? `${path}?${search}` : path;
}

/** Asks for `path` (`/api/...`) and returns the answer.
 *
 * Throws `Problem`, or the signal's `AbortError` where it was cancelled. */
export async function request(path: string, options: Options = {}): Promise<Response> {
  const { body, signal } = options;
  const raw = body instanceof Blob;
  const init: RequestInit = { method: options.method ?? (body === undefined ? "GET" : "POST"), credentials: "same-origin" };
  if (body !== undefined) {
    init.body = raw ? body : JSON.stringify(body);
    init.headers = { "content-type": raw ? "application/octet-stream" : "application/json" };
  }
  if (signal) init.signal = signal;
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    void session.check();
    throw new Problem("The studio does not answer", { fix: "look at the terminal it was started in" });
  }
  session.reached();
  if (answer.ok) return answer;
  if (answer.status === 403) void session.check();
  throw await told(answer);
}

async function told(answer: Response): Promise<Problem> {
  try {
    const { error } = (await answer.json()) as { error: { what: string; where?: string; why?: string; fix?: string } };
    return new Problem(error.what, { ...error, status: answer.status });
  } catch {
    return new Problem(`The studio answered ${answer.status}`, { status: answer.status, fix: "the terminal says more" });
  }
}

/** The answer as JSON. */
export async function json<T>(path: string, options: Options = {}): Promise<T> {
  return (await (await request(path, options)).json()) as T;
}

/** Whether an error only says that its request was cancelled. */
export function cancelled(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** Any error as a `Problem`. */
export function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(error instanceof Error ? error.message : String(error));
}
