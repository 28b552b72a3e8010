/** What can be trained, and what a training tells of itself. */

export interface Choices {
  data: string[];
  networks: { name: string; input: [number, number, number]; parameters: number; weights: string[] }[];
  own: string | null;
  recipes: { name: string; about: string }[];
  presets: { name: string; title: string; about: string }[];
}

export type Phase = "starting" | "running" | "paused" | "stopped" | "failed" | "done";

export interface State {
  phase: Phase;
  why: string;
  resumable: boolean;
  log: string;
}

/** What the page asked for; empty where the run was begun elsewhere. */
export interface Asked {
  data?: string;
  network?: string;
  recipe?: string;
  preset?: string;
}

export type Filter = number[][][];

export interface Said {
  label: string;
  probability: number | null;
  right: boolean | null;
}

export interface Glimpse {
  /** Of training; null: the finished model. */
  step: number | null;
  /** [filter][channel][row][column], the largest weight being 1. */
  filters: Filter[];
  predictions: (Said | null)[];
  problem?: string;
}

export interface Watched {
  uri: string | null;
  pixelated: boolean;
  label: string;
}

export const PHASES: Readonly<Record<Phase, string>> = {
  starting: "Starting: the data are read and checked first",
  running: "Training",
  paused: "Paused: nothing is lost, and memory is held",
  stopped: "Stopped",
  failed: "It did not begin",
  done: "Done",
};
