// Responses as pixels to look at.

import type { Rgb } from "../parts/colours";
import { item } from "./arithmetic";
import { pixelsOf, type Picture } from "./filtering";

export const SHOWS = ["signed", "magnitude", "clip"] as const;
export type Show = (typeof SHOWS)[number];

/** Of numbers below and above 0. */
type Tones = { negative: Rgb; positive: Rgb };

/** Responses as they are looked at; of signed ones, `most` has the full colour. */
export function painted(responses: Picture[], show: Show, most: number, tones: Tones): ImageData {
  if (show !== "signed") return paintLevels(responses, show === "magnitude");
  return paintSigned(item(responses, 0), most, tones);
}

/** Hatched below 0; transparent at 0, so that the page's own colour shows. */
function paintSigned({ width, height, values }: Picture, most: number, { negative, positive }: Tones): ImageData {
  const image = new ImageData(width, height);
  const { data } = image;
  const scale = 255 / most;
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const level = (values[i] as number) * scale;
      const colour = level < 0 ? negative : positive;
      data[4 * i] = colour[0];
      data[4 * i + 1] = colour[1];
      data[4 * i + 2] = colour[2];
      // Every fourth diagonal stays empty where the response is clearly negative: told without colour too.
      data[4 * i + 3] = level < -12 && (x + y) % 4 === 0 ? 0 : Math.abs(level);
    }
  return image;
}

/** Each colour by itself, or grey: 0 black, 255 and more white; of a magnitude without the sign. The array clamps and rounds. */
function paintLevels(pictures: Picture[], magnitude: boolean): ImageData {
  const first = item(pictures, 0);
  const image = new ImageData(first.width, first.height);
  const { data } = image;
  data.fill(255);
  for (let channel = 0; channel < 3; channel++) {
    const { values } = pictures[channel] ?? first;
    for (let i = 0, to = channel; i < values.length; i++, to += 4) {
      const value = values[i] as number;
      data[to] = magnitude ? Math.abs(value) : value;
    }
  }
  return image;
}

/** Something to filter before there is a photo: flat areas, edges of every direction, thin lines, curves, letters, a fine pattern. */
export function drawTestPicture(): ImageData {
  const canvas = document.createElement("canvas");
  canvas.width = 480;
  canvas.height = 320;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("the browser gives no canvas to draw on");
  const box = (colour: string, ...place: [number, number, number, number]) => {
    context.fillStyle = colour;
    context.fillRect(...place);
  };
  const sky = context.createLinearGradient(0, 0, 0, 230);
  sky.addColorStop(0, "#3f7fc4");
  sky.addColorStop(1, "#dbe9f4");
  context.fillStyle = sky;
  context.fillRect(0, 0, 480, 230);
  box("#5d7a45", 0, 230, 480, 90);
  context.fillStyle = "#f6d55c";
  context.beginPath();
  context.arc(400, 66, 38, 0, 2 * Math.PI);
  context.fill();
  box("#c8b6a0", 70, 130, 150, 130);
  context.fillStyle = "#8c3b2e";
  context.beginPath();
  context.moveTo(52, 130);
  context.lineTo(145, 62);
  context.lineTo(238, 130);
  context.fill();
  for (const x of [90, 165]) {
    box("#2b3a4a", x, 155, 36, 36);
    box("#e8e2d6", x + 16, 155, 4, 36);
    box("#e8e2d6", x, 171, 36, 4);
  }
  box("#5a3d28", 128, 205, 34, 55);
  context.lineWidth = 2;
  for (let i = 0; i < 9; i++) {
    context.strokeStyle = i % 2 ? "#f3efe6" : "#2f2a25";
    context.beginPath();
    context.moveTo(262 + i * 10, 262);
    context.lineTo(300 + i * 10, 182);
    context.stroke();
  }
  for (let y = 0; y < 8; y++)
    for (let x = 0; x < 8; x++) box((x + y) % 2 ? "#161616" : "#f4f4f4", 394 + x * 8, 196 + y * 8, 8, 8);
  context.fillStyle = "#16210e";
  context.font = "600 34px Georgia, serif";
  context.fillText("striate 1968", 262, 306);
  return pixelsOf(canvas, canvas.width);
}
