/** Numbers as colours that any colour vision tells apart; a sign is never told by colour alone, so write it too. */

export type Rgb = readonly [red: number, green: number, blue: number];

const SEQUENTIAL: readonly Rgb[] = [
  [0, 32, 77], [39, 59, 112], [84, 89, 109], [124, 123, 120], [167, 157, 117], [213, 194, 98], [255, 234, 70],
]; // prettier-ignore
const NEGATIVE: Rgb = [213, 94, 0];
const POSITIVE: Rgb = [0, 114, 178];

function between(a: Rgb, b: Rgb, share: number): Rgb {
  return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share];
}

/** 0..1 -> from dark blue to yellow, ever lighter (after cividis: J. R. Nunez et al., arXiv:1712.01662). */
export function sequential(share: number): Rgb {
  const place = Math.min(Math.max(share, 0), 1) * (SEQUENTIAL.length - 1);
  const low = Math.min(Math.floor(place), SEQUENTIAL.length - 2);
  return between(SEQUENTIAL[low], SEQUENTIAL[low + 1], place - low);
}

/** -1..1 -> from orange over `middle` (the paper's colour) to blue. */
export function diverging(share: number, middle: Rgb): Rgb {
  const bounded = Math.min(Math.max(share, -1), 1);
  return between(middle, bounded < 0 ? NEGATIVE : POSITIVE, Math.abs(bounded));
}

/** A signed number as a CSS colour on the paper, `most` being the full colour: for cells and bars. */
export function signed(value: number, most: number): string {
  const share = most > 0 ? Math.min(Math.abs(value) / most, 1) : 0;
  return `color-mix(in srgb, var(--${value < 0 ? "negative" : "positive"}) ${(share * 72).toFixed(1)}%, var(--surface))`;
}

/** An RGB colour for CSS. */
export function css([red, green, blue]: Rgb): string {
  return `rgb(${Math.round(red)} ${Math.round(green)} ${Math.round(blue)})`;
}
