// The page's two colours of signed numbers as numbers, for canvases; who reads them is told when the page turns light or dark.

import { createSubscriber } from "svelte/reactivity";
import type { Rgb } from "../parts/colours";

const changed = createSubscriber((update) => {
  const observer = new MutationObserver(update);
  observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  return () => observer.disconnect();
});

/** `#0072b2` as numbers. */
export function rgb(hex: string): Rgb {
  const digits = hex.trim().slice(1);
  const whole = digits.length === 3 ? digits.replace(/./g, "$&$&") : digits; // a build shortens #ffffff to #fff
  const number = Number.parseInt(whole, 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}

/** Of numbers below and above 0, as they are now. */
export function tones(): { negative: Rgb; positive: Rgb } {
  changed();
  const style = getComputedStyle(document.documentElement);
  return { negative: rgb(style.getPropertyValue("--negative")), positive: rgb(style.getPropertyValue("--positive")) };
}
