import { expect, it } from "vitest";
import { coloured, thumbnail, toward } from "./data";

it("walks to the nearest point of a direction", () => {
  const xs = [0, 1, 3, 0, -2];
  const ys = [0, 0.5, 0, 2, -2];
  expect(toward(xs, ys, 0, 1, 0)).toBe(1);
  expect(toward(xs, ys, 1, 1, 0)).toBe(2);
  expect(toward(xs, ys, 0, 0, 1)).toBe(3);
  expect(toward(xs, ys, 0, -1, 0)).toBe(4);
  expect(toward(xs, ys, 2, 1, 0)).toBeUndefined();
});

it("colours the commonest classes", () => {
  expect(coloured(["b", "a", "b", "c", "a", "b"], 2)).toEqual(["b", "a"]);
});

it("asks for a picture by name and number, never by path", () => {
  expect(thumbnail("my photos", 7)).toBe("/api/data/thumbnail?data=my+photos&index=7");
});
