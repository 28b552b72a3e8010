import { describe, expect, it } from "vitest";
import { checked, droppedFiles, MOST_BYTES } from "../parts/pictures";
import { address, Problem } from "./api";
import { readEvent } from "./events";
import { latest } from "./latest";
import { href, parse } from "./route.svelte";
import { SCREENS } from "./screens";

describe("the address", () => {
  it("is written short and read back", () => {
    expect(href("runs", { compare: "a,b", run: null, curve: "", page: 2 })).toBe("/runs?compare=a,b&page=2");
    expect(href("zoo")).toBe("/zoo");
    const written = href("data", { search: "a&b=c d/é", label: "T-shirt/top" });
    const [path, search] = written.split("?");
    expect(parse(path, `?${search}`)).toEqual({ screen: "data", query: { search: "a&b=c d/é", label: "T-shirt/top" } });
  });

  it("of a screen is its own", () => {
    expect(new Set(SCREENS.map(({ id }) => id)).size).toBe(SCREENS.length);
    for (const { id } of SCREENS) expect(id).toMatch(/^[a-z]+$/);
  });

  it("of a request is escaped", () => {
    expect(address("/api/x", { run: "a&b", none: undefined, n: 0 })).toBe("/api/x?run=a%26b&n=0");
  });
});

describe("latest", () => {
  it("cancels the work before, and gives its caller nothing", async () => {
    const ask = latest();
    const first = ask(
      (signal) => new Promise((_, refuse) => signal.addEventListener("abort", () => refuse(new Error("cancelled")))),
    );
    const second = ask(() => Promise.resolve("second"));
    expect(await first).toBeUndefined();
    expect(await second).toBe("second");
  });

  it("drops a result that comes although it was cancelled", async () => {
    const ask = latest();
    let finish = (_: string) => {};
    const first = ask(() => new Promise<string>((done) => (finish = done)));
    const second = ask(() => Promise.resolve("second"));
    finish("first");
    expect(await first).toBeUndefined();
    expect(await second).toBe("second");
  });

  it("passes on what fails by itself", async () => {
    await expect(latest()(() => Promise.reject(new Problem("no")))).rejects.toThrow("no");
  });
});

describe("a stream of events", () => {
  it("is read a block at a time", () => {
    expect(readEvent('event: state\ndata: {"a": 1}')).toEqual({ name: "state", data: { a: 1 } });
    expect(readEvent("data: [1,\ndata: 2]")).toEqual({ name: "message", data: [1, 2] });
    expect(readEvent(":")).toBeUndefined();
  });
});

describe("what readers bring", () => {
  const file = (name: string, size: number) => ({ name, size }) as File;
  const drop = (files: File[], folder?: string) =>
    ({
      files,
      items: (folder ? [folder] : files).map((name) => ({ webkitGetAsEntry: () => ({ isDirectory: !!folder, name }) })),
    }) as unknown as DataTransfer;

  it("is taken where it may be a picture", () => {
    expect(droppedFiles(drop([file("a.jpg", 10)]))).toHaveLength(1);
  });

  it.each([
    [() => droppedFiles(drop([file("photos", 4096)], "photos")), "This is a folder"],
    [() => checked([file("huge.png", MOST_BYTES + 1)]), "This file is too large"],
    [() => checked([file("empty.png", 0)]), "This file is empty"],
    [() => droppedFiles(drop([])), "That was no file"],
  ])("is refused in words: %#", (take, words) => {
    expect(take).toThrow(words);
  });
});
