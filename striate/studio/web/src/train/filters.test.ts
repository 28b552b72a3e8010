import { expect, it } from "vitest";
import { colourOf, columns, sizeOf } from "./filters";

it("lays tiles out with a cell between them", () => {
  const tile = [[[0, 0, 0], [0, 0, 0]]]; // prettier-ignore
  expect(columns(1)).toBe(1);
  expect(sizeOf([tile])).toEqual([3, 2]);
  const ten = Array.from({ length: 10 }, () => tile);
  expect(columns(10)).toBe(4);
  expect(sizeOf(ten)).toEqual([4 * 4 - 1, 3 * 3 - 1]);
});

it("tells a sign by its colour: blue for positive, orange for negative", () => {
  const [red, , blue] = colourOf([[[1]]], 0, 0);
  expect(blue).toBeGreaterThan(red);
  const [more, , less] = colourOf([[[-1]]], 0, 0);
  expect(more).toBeGreaterThan(less);
  expect(colourOf([[[0]]], 0, 0)).toEqual([200, 200, 196]);
});

it("shows three channels as one colour, grey where there is nothing", () => {
  expect(colourOf([[[1]], [[0]], [[-1]]], 0, 0)).toEqual([255, 127.5, 0]);
});
