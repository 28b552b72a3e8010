import { expect, it } from "vitest";
import { overlay, sorted, valueOf, type Epoch, type Run } from "./runs";

const row = (epoch: number, more: Partial<Epoch> = {}): Epoch => ({
  epoch,
  step: epoch * 10,
  seconds: 1,
  images_per_second: 100,
  lr: 0.1,
  train: { loss: 1 / epoch },
  validation: { loss: 2 / epoch, accuracy: 0.5 },
  monitor: "accuracy",
  best: false,
  skipped: 0,
  ...more,
});
const run = (name: string, accuracy: number | null): Run => ({
  ...{ name, path: name, status: "done", model: "m", recipe: "r", data: "d", created: "2026", epochs: 1, seconds: 1 },
  accuracy,
});

it("reads a curve's value, and none where it is not finite", () => {
  expect(valueOf(row(4), "validation loss")).toBe(0.5);
  expect(valueOf(row(4), "monitor")).toBe(0.5);
  expect(valueOf(row(1, { validation: { loss: null } }), "validation loss")).toBeNull();
  expect(valueOf(row(1, { train: {} }), "training loss")).toBeNull();
});

it("leaves epochs without validation out of the monitored curve", () => {
  const [series] = overlay([{ run: "a", epochs: 2, rows: [row(1, { validation: {} }), row(2)] }], "monitor");
  expect(series.points).toEqual([[2, 0.5]]);
});

it("sorts by a column, what has no value last either way", () => {
  const runs = [run("b", null), run("run-10", 0.9), run("run-2", 0.95)];
  expect(sorted(runs, "accuracy", true).map(({ name }) => name)).toEqual(["run-2", "run-10", "b"]);
  expect(sorted(runs, "accuracy", false).map(({ name }) => name)).toEqual(["run-10", "run-2", "b"]);
  expect(sorted(runs, "name", false).map(({ name }) => name)).toEqual(["b", "run-2", "run-10"]);
});
