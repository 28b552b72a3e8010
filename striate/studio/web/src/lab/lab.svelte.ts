// What the lab shows, derived from the address; and the window that moves over it.

import { route } from "../shell/route.svelte";
import { read, write, type Read } from "./address";
import {
  outputChannels,
  outputOf,
  outputSize,
  readCounts,
  unitAt,
  type Plane,
  type Setting,
  type Size,
  type Unit,
} from "./arithmetic";
import type { Preset } from "./presets";
import { obstacle } from "./settings";

/** One place of the output. */
export interface Place {
  filter: number;
  row: number;
  column: number;
}

export class Lab {
  readonly shown: Read = $derived(read(route.query));
  readonly setting: Setting = $derived(this.shown.setting);
  /** Why nothing can be computed; null where it can. */
  readonly obstacle: string | null = $derived(obstacle(this.setting));
  readonly size: Size = $derived(this.obstacle === null ? outputSize(this.setting) : { height: 0, width: 0 });
  readonly outputs: Plane[] = $derived(this.obstacle === null ? outputOf(this.setting) : []);
  readonly counts: Plane = $derived(readCounts(this.setting));
  /** What is filtered as a whole picture: the reader's photo, or the camera's last; null: the test picture. In no address. */
  photo: ImageData | null = $state.raw(null);
  /** Where the window is while it moves; the address hears of it when it rests. */
  #moving: Place | null = $state(null);
  readonly at: Place = $derived(this.#within(this.#moving ?? placeIn(route.text("at"))));
  readonly unit: Unit | null = $derived(
    this.obstacle === null ? unitAt(this.setting, this.at.filter, this.at.row, this.at.column) : null,
  );
  /** Places of the window, over all output channels. */
  readonly places: number = $derived(outputChannels(this.setting) * this.size.height * this.size.width);

  /** Shows another setting: an entry in the history, so that the browser's "back" is "undo". */
  change(setting: Setting, entry: "push" | "replace" = "push"): void {
    route.set(write(setting, this.shown.preset), entry);
  }

  open(preset: Preset): void {
    this.#moving = null;
    route.set({ ...write(preset.setting, preset), at: null });
  }

  move(place: Place, rests = true): void {
    const to = this.#within(place);
    this.#moving = rests ? null : to;
    const first = to.filter + to.row + to.column === 0;
    if (rests) route.set({ at: first ? null : [to.filter, to.row, to.column].join(",") }, "replace");
  }

  /** To the place that is so many steps on: row by row, then the next filter; behind the last comes the first. */
  step(by: number, rests = true): void {
    if (this.places) this.move(this.placeAt((this.index + by + this.places) % this.places), rests);
  }

  /** The number of the place in that order. */
  get index(): number {
    return (this.at.filter * this.size.height + this.at.row) * this.size.width + this.at.column;
  }

  placeAt(index: number): Place {
    const { height, width } = this.size;
    const row = Math.floor(index / width);
    return { filter: Math.floor(row / height), row: row % height, column: index % width };
  }

  #within({ filter, row, column }: Place): Place {
    const inside = (value: number, count: number) => Math.min(Math.max(value, 0), Math.max(count - 1, 0));
    const { height, width } = this.size;
    return { filter: inside(filter, outputChannels(this.setting)), row: inside(row, height), column: inside(column, width) };
  }
}

function placeIn(text: string): Place {
  const match = /^(\d),(\d{1,3}),(\d{1,3})$/.exec(text);
  return match ? { filter: Number(match[1]), row: Number(match[2]), column: Number(match[3]) } : { filter: 0, row: 0, column: 0 };
}
