/** What a chart of curves is drawn from. */
export interface Series {
  name: string;
  /** Position among the series colours, from 0. */
  colour: number;
  dashed?: boolean;
  points: readonly (readonly [x: number, y: number | null])[];
}

export const NUM_COLOURS = 6;

/** Lowest and highest of the finite values, a little widened, though shares not beyond 0 and 1; a constant gets room, too. */
export function range(values: readonly (number | null)[], fallback: readonly [number, number] = [0, 1]): [number, number] {
  const finite = values.filter((value): value is number => value !== null && Number.isFinite(value));
  if (!finite.length) return [...fallback];
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const room = (high - low) * 0.04 || Math.abs(high) * 0.1 || 0.1;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high <= 1 ? Math.min(1, high + room) : high + room];
}

/** An SVG path through the points that have a value; a gap where one has none. */
export function path(points: Series["points"], x: (value: number) => number, y: (value: number) => number): string {
  let pen = "M";
  let drawn = "";
  for (const [across, up] of points) {
    if (up === null || !Number.isFinite(up)) {
      pen = "M";
      continue;
    }
    drawn += `${pen}${x(across).toFixed(1)} ${y(up).toFixed(1)}`;
    pen = "L";
  }
  return drawn;
}
