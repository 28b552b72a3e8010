/** Numbers as people read them. */

const GROUPS = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 25557032 -> "25,557,032". */
export function grouped(value: number): string {
  return GROUPS.format(value);
}

/** Three digits and a unit: 25557032 -> "25.6 M". */
export function short(value: number): string {
  const size = Math.abs(value);
  for (const [unit, one] of [["G", 1e9], ["M", 1e6], ["k", 1e3]] as const) {
    if (size >= one * 0.9995) return `${(value / one).toPrecision(3)} ${unit}`;
  } // prettier-ignore
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}

/** A share 0..1 -> "93.1 %", never broken over two lines. */
export function percent(share: number, digits = 1): string {
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}

/** 93 -> "1 min 33 s". */
export function seconds(value: number): string {
  if (value < 10) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

/** 3500000 -> "3.50 MB". */
export function bytes(value: number): string {
  return value < 1000 ? `${value} bytes` : `${short(value)}B`.replace("k", "K");
}

/** With a true minus sign; the sign is written where `always`. */
export function signedNumber(value: number, digits = 2, always = false): string {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 ? `−${text}` : always && value > 0 ? `+${text}` : text;
}
