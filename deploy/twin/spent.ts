/** What a request's time was spent on, by instance: the value of its Server-Timing header.
 *
 * The runtime's clock moves only when something is waited for, and in whole milliseconds. Work that runs at once has
 * a record for each branch; the branch that decides when the request goes on is joined.
 */

export class Spent {
  private readonly byCategoryMs = new Map<string, number>();

  add(category: string, durationMs: number): void {
    this.byCategoryMs.set(category, (this.byCategoryMs.get(category) ?? 0) + durationMs);
  }

  join(branch: Spent): void {
    for (const [category, durationMs] of branch.byCategoryMs) this.add(category, durationMs);
  }

  /** Do some work and attribute the time that it takes. */
  async during<T>(category: string, work: () => Promise<T>): Promise<T> {
    const beganMs = performance.now();
    try {
      return await work();
    } finally {
      this.add(category, performance.now() - beganMs);
    }
  }

  serverTiming(): string {
    return [...this.byCategoryMs].map(([category, ms]) => `${category};dur=${ms.toFixed(3)}`).join(", ");
  }
}
