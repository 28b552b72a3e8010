/** The address is the state: a screen and its settings, so that a link shows another reader the same thing. */

export type Value = string | number | boolean | null | undefined;
export type Query = Readonly<Record<string, string>>;

/** What an address says: `/zoo?network=resnet50`. */
export function parse(path: string, search: string): { screen: string; query: Query } {
  return { screen: path.split("/")[1] ?? "", query: Object.fromEntries(new URLSearchParams(search)) };
}

/** The address of a screen with these settings; null, undefined and "" are left out. */
export function href(screen: string, query: Readonly<Record<string, Value>> = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  // Commas, colons and slashes are legal in a query, and a link is also read by people.
  const plain = search.replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%2F", "/");
  return `/${screen}${plain && "?"}${plain}`;
}

class Route {
  screen = $state("");
  query: Query = $state.raw({});

  /** Reads the address bar: once at the start, and whenever the reader goes back or on. */
  read(): void {
    const { screen, query } = parse(location.pathname, location.search);
    this.screen = screen;
    this.query = query;
  }

  /** Opens a screen: a new entry in the history. */
  go(screen: string, query: Readonly<Record<string, Value>> = {}): void {
    history.pushState(null, "", href(screen, query));
    this.read();
  }

  /** Changes settings of the screen that is open. A choice is an entry in the history; a slider that moves replaces it. */
  set(changes: Readonly<Record<string, Value>>, entry: "push" | "replace" = "push"): void {
    const address = href(this.screen, { ...this.query, ...changes });
    if (address === href(this.screen, this.query)) return;
    if (entry === "push") history.pushState(null, "", address);
    else history.replaceState(null, "", address);
    this.read();
  }

  /** A setting as text, or what holds where the address does not say. */
  text(name: string, otherwise = ""): string {
    return this.query[name] ?? otherwise;
  }

  /** A setting as a number within bounds; anything else in the address is as if it were not there. */
  number(name: string, otherwise: number, least = -Infinity, most = Infinity): number {
    const written = this.query[name];
    const value = written === undefined || written.trim() === "" ? NaN : Number(written);
    return Number.isFinite(value) && value >= least && value <= most ? value : otherwise;
  }

  /** A setting that is one of a few words. */
  choice<T extends string>(name: string, known: readonly T[], otherwise: T): T {
    return known.find((word) => word === this.query[name]) ?? otherwise;
  }

  /** A setting that is on (`1`) or off (`0`). */
  flag(name: string, otherwise = false): boolean {
    const written = this.query[name];
    return written === undefined ? otherwise : written === "1";
  }
}

export const route = new Route();
