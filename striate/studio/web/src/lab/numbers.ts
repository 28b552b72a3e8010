// How numbers are written and read: a true minus sign, no noise of binary fractions, and 1/9 for those who think in fractions.

/** At most this many digits behind the point, and a minus sign as wide as a plus. */
export function written(value: number, digits = 4): string {
  if (value === -Infinity) return "−∞";
  if (value === Infinity) return "∞";
  // Twelve digits are what a sum of decimal fractions surely has right.
  const clean = Number(value.toPrecision(12));
  const short = Number.isInteger(clean) ? clean : Number(clean.toFixed(digits));
  // Too small for its decimals, but not nothing.
  const text = short === 0 && clean !== 0 ? clean.toExponential(1) : String(Object.is(short, -0) ? 0 : short);
  return text.replace("e-", "e−").replace(/^-/, "−");
}

/** In parentheses where it is negative, as a factor or a term is written. */
export const asTerm = (value: number): string => (written(value).startsWith("−") ? `(${written(value)})` : written(value));

/** What was typed: an integer, a decimal with point or comma, or a fraction; null where it is no number. */
export function typed(text: string): number | null {
  const plain = text.trim().replace(/[−–]/g, "-").replace(",", ".");
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:\s*\/\s*(\d+\.?\d*))?$/.exec(plain);
  if (!match) return null;
  const value = Number(match[1]) / (match[2] === undefined ? 1 : Number(match[2]));
  return Number.isFinite(value) && Math.abs(value) < 1e6 ? value : null;
}

/** Whether an answer is right: exactly where that is an integer, else to two decimals, rounded or cut off. */
export function agrees(answer: number, right: number): boolean {
  if (Math.abs(answer - right) < 1e-9 * Math.max(1, Math.abs(right))) return true;
  return !Number.isInteger(Number(right.toPrecision(12))) && Math.abs(answer - right) < 0.01;
}

/** "1 pixel", "2 pixels". */
export const counted = (count: number, noun: string, plural = `${noun}s`): string => `${count} ${count === 1 ? noun : plural}`;
