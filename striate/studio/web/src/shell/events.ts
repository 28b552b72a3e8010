import { request, type Options } from "./api";

/** One server-sent event. */
export interface Told<T = unknown> {
  name: string;
  data: T;
}

/** The events that an answer streams, until it ends; each one's data is JSON. Throws as `request` does. */
export async function* events<T = unknown>(path: string, options: Options = {}): AsyncGenerator<Told<T>> {
  const answer = await request(path, options);
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = readEvent<T>(block);
        if (event) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** One block of lines of a stream; undefined for a comment, which keeps the connection alive. */
export function readEvent<T>(block: string): Told<T> | undefined {
  let name = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) as T } : undefined;
}

/** Listens until the signal says stop: where the stream breaks off, it is asked for again. */
export async function listen<T>(
  path: string,
  signal: AbortSignal,
  heard: (event: Told<T>) => void,
  lost?: (error: unknown) => void,
) {
  while (!signal.aborted) {
    try {
      for await (const event of events<T>(path, { signal })) heard(event);
    } catch (error) {
      if (signal.aborted) return;
      lost?.(error);
    }
    await new Promise((again) => setTimeout(again, 1500));
  }
}
