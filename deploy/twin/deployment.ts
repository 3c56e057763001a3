/** The deployment file, as the runner writes it: instances of components, and routes made of their operations. */

export interface StepFile {
  use?: string | null;
  steps?: StepFile[] | null;
  parameters?: Record<string, number>;
  times?: number;
  parallel?: boolean;
  chance?: number;
  spawn?: boolean;
  timeout_ms?: number | null;
  retries?: number;
  backoff_ms?: number;
  jitter?: boolean;
  hedge_ms?: number | null;
}

export interface DeploymentFile {
  seed?: number;
  api?: string;
  system: Record<string, Record<string, unknown>>;
  routes: Record<string, { enter?: string; request: { method: string; path: string }; steps: StepFile[] }>;
}

/** One step; index is its place among all steps of the route, as they are written. */
export interface Step {
  index: number;
  instance: string;
  operation: string;
  parameters: Record<string, number>;
  steps: Step[];
  times: number;
  isParallel: boolean;
  chance: number;
  isSpawned: boolean;
  timeoutMs: number | null;
  retries: number;
  backoffMs: number;
  hasJitter: boolean;
  hedgeMs: number | null;
}

/** Return the steps of a route, numbered as they are written. */
export function readSteps(files: StepFile[], count = { next: 0 }): Step[] {
  return files.map((file) => {
    const [instance = "", operation = ""] = file.use?.split(".") ?? [];
    return {
      index: count.next++,
      instance,
      operation,
      parameters: file.parameters ?? {},
      steps: readSteps(file.steps ?? [], count),
      times: file.times ?? 1,
      isParallel: file.parallel ?? false,
      chance: file.chance ?? 1,
      isSpawned: file.spawn ?? false,
      timeoutMs: file.timeout_ms ?? null,
      retries: file.retries ?? 0,
      backoffMs: file.backoff_ms ?? 0,
      hasJitter: file.jitter ?? false,
      hedgeMs: file.hedge_ms ?? null,
    };
  });
}

/** Return the component of an instance. */
export function componentOf(system: DeploymentFile["system"], instance: string): string {
  return String(system[instance]?.["component"] ?? instance);
}
