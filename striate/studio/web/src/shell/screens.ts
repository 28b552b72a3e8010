import type { Component } from "svelte";

/** One screen of the studio: its code is loaded when it is first opened. */
export interface Screen {
  /** Its path in the address: `/zoo`. */
  id: string;
  title: string;
  /** What one does there, in one line. */
  about: string;
  load: () => Promise<{ default: Component }>;
}

export const SCREENS: readonly Screen[] = [
  {
    id: "lab",
    title: "Convolution lab",
    about: "Every number of a convolution, and where it comes from.",
    load: () => import("../lab/Lab.svelte"),
  },
  {
    id: "network",
    title: "Network",
    about: "Any network as a drawing: shapes, parameters, costs, and where it breaks.",
    load: () => import("../network/Network.svelte"),
  },
  {
    id: "inside",
    title: "Inside",
    about: "Any number of a network on your picture, back to the pixels.",
    load: () => import("../inside/Inside.svelte"),
  },
  {
    id: "train",
    title: "Train",
    about: "Choose data and a recipe, and watch it learn; or break it.",
    load: () => import("../train/Train.svelte"),
  },
  {
    id: "runs",
    title: "Runs",
    about: "What was trained, its curves and its reports.",
    load: () => import("../runs/Runs.svelte"),
  },
  {
    id: "data",
    title: "Data",
    about: "What a network learns from: audit, pictures, duplicates, a map.",
    load: () => import("../data/Data.svelte"),
  },
  {
    id: "zoo",
    title: "Zoo",
    about: "The networks, what they cost and what they reach.",
    load: () => import("../zoo/Zoo.svelte"),
  },
  { id: "try", title: "Try", about: "Your pictures on a trained model.", load: () => import("../try/Try.svelte") },
];
