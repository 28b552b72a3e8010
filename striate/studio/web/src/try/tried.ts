/** Models that can be tried, and what they said. */

import type { Problem } from "../shell/api";

export interface Listed {
  name: string;
  kind: "run" | "file" | "zoo";
  note: string;
}

export interface Model {
  name: string;
  architecture: string;
  kind: "label" | "labels" | "value";
  num_classes: number;
  classes: string[];
  threshold: number;
  size: [height: number, width: number];
  channels: number;
  accuracy: number | null;
  license: string | null;
  /** Whether it can be asked what in a picture speaks for a class. */
  maps: boolean;
  python: string;
  curl: string;
}

export interface Prediction {
  kind: "label" | "labels" | "value";
  top: { label: string; probability: number }[];
  labels: string[];
  value: number | null;
  decode_ms: number;
  network_ms: number;
}

export interface Tried {
  name: string;
  /** That was asked. */
  model: string;
  file: File;
  /** An object URL of the file. */
  picture: string;
  small?: boolean;
  /** The browser cannot show it. */
  broken?: boolean;
  prediction?: Prediction | undefined;
  problem?: Problem | undefined;
  /** What speaks for a class, laid over the picture: an object URL; or why that cannot be said. */
  unexplained?: Problem | undefined;
  map?: { label: string; picture: string } | undefined;
}
