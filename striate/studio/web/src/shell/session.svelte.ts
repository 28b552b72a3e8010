/** Whether this browser may ask for data: a token from the terminal's link becomes a cookie, once. */

export type Standing = "asking" | "in" | "out" | "lost";

const AGAIN_MS = 1500;

class Session {
  /** `asking` at first; `in`; `out`: no cookie, or one of an earlier start; `lost`: the studio does not answer. */
  standing: Standing = $state("asking");
  /** Why a link from the terminal did not open the studio, if it did not. */
  refusal = $state("");
  /** Grows with every return of a studio that was lost: what a screen shows may be old. */
  returns = $state(0);
  #waiting: ReturnType<typeof setTimeout> | undefined;

  /** Trades the token in the address, if there is one, for the cookie; it leaves the address at once. */
  async open(): Promise<void> {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (token !== null) {
      history.replaceState(null, "", location.pathname + location.search);
      await this.#trade(token);
    }
    await this.check();
  }

  async #trade(token: string): Promise<void> {
    try {
      const body = JSON.stringify({ token });
      const answer = await fetch("/session", { method: "POST", body, headers: { "content-type": "application/json" } });
      if (!answer.ok) this.refusal = ((await answer.json()) as { error: { what: string } }).error.what;
    } catch {
      this.standing = "lost";
    }
  }

  /** Asks the studio where this browser stands; while it does not answer, again and again. */
  async check(): Promise<void> {
    clearTimeout(this.#waiting);
    try {
      const answer = await fetch("/session");
      const { open } = (await answer.json()) as { open: boolean };
      if (this.standing === "lost") this.returns += 1;
      this.standing = open ? "in" : "out";
    } catch {
      this.standing = "lost";
    }
    // Another tab may come in, or the studio may be started again.
    if (this.standing !== "in") this.#waiting = setTimeout(() => void this.check(), AGAIN_MS);
  }

  /** A request was answered. */
  reached(): void {
    if (this.standing === "lost") void this.check();
  }
}

export const session = new Session();
