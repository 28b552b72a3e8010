/** Axes: where a value lies, and which values are named. */

export interface Scale {
  (value: number): number;
  ticks: readonly number[];
}

/** A linear axis from `low` to `high` in value onto `from` to `to` in pixels, with about `count` round ticks. */
export function linear(low: number, high: number, from: number, to: number, count = 5): Scale {
  const span = high - low || 1;
  const step = niceStep(span / count);
  const ticks: number[] = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step)
    ticks.push(+tick.toPrecision(12));
  return Object.assign((value: number) => from + ((value - low) / span) * (to - from), { ticks });
}

/** A logarithmic one; ticks at 1, 2, 5 (or at powers of ten alone where there are many). */
export function logarithmic(low: number, high: number, from: number, to: number): Scale {
  const span = Math.log(high / low) || 1;
  const digits = Math.log10(high / low) > 4 ? [1] : [1, 2, 5];
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const digit of digits) {
      const tick = digit * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return Object.assign((value: number) => from + (Math.log(Math.max(value, low / 10) / low) / span) * (to - from), { ticks });
}

/** 1, 2, 2.5 or 5 times a power of ten, at least `rough`. */
export function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 2.5, 5, 10].find((step) => step * power >= rough * 0.999) ?? 10) * power;
}

/** The ticks that can be written side by side: each at least `pixels` from the one before. */
export function apart(ticks: readonly number[], scale: Scale, pixels = 46): number[] {
  const kept: number[] = [];
  for (const tick of ticks) if (!kept.length || Math.abs(scale(tick) - scale(kept[kept.length - 1])) >= pixels) kept.push(tick);
  return kept;
}
