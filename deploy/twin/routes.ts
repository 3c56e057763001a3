/** The table in which the route of a request is looked up. */

import { RequestError } from "../src/errors.ts";
import { componentOf, readSteps, type DeploymentFile, type Step } from "./deployment.ts";

const PLACEHOLDER = /\{([A-Za-z_][A-Za-z0-9_]*)\}/;

const ENTRIES = ["network", "cron"];

export interface Route {
  name: string;
  method: string;
  names: string[];
  pattern: RegExp;
  steps: Step[];
}

/** The route of a request, and what stands in its path in place of the placeholders. */
export interface Found {
  route: Route;
  values: string[];
}

export class RouteTable {
  readonly routes: Route[];

  constructor(file: DeploymentFile) {
    // A Worker is reached over HTTP only, as by its schedule: what comes in by another transport has no route here.
    this.routes = Object.entries(file.routes)
      .filter(([, route]) => ENTRIES.includes(componentOf(file.system, route.enter ?? "network")))
      .map(([name, route]) => readRoute(name, route.request, readSteps(route.steps)));
  }

  /** Return the route of a request; what answers GET answers HEAD too. */
  find(method: string, path: string): Found {
    const fitting = this.routes.flatMap((route) => {
      const found = route.pattern.exec(path);
      return found ? [{ route, values: found.slice(1) }] : [];
    });
    const meant = (wanted: string): Found | undefined => fitting.find(({ route }) => route.method === wanted);
    const found = meant(method) ?? (method === "HEAD" ? meant("GET") : undefined);
    if (found) return found;
    if (fitting.length === 0) throw new RequestError(404, "not_found", `no route ${JSON.stringify(path.slice(0, 80))}`);
    const methods = [...new Set(fitting.map(({ route }) => route.method))].sort();
    if (methods.includes("GET") && !methods.includes("HEAD")) methods.push("HEAD");
    const named = methods.join(", ");
    throw new RequestError(405, "method_not_allowed", `${method.slice(0, 20)}: use ${named}`, { allow: named });
  }
}

function readRoute(name: string, request: { method: string; path: string }, steps: Step[]): Route {
  const parts = (request.path.split("?")[0] ?? "").split(PLACEHOLDER);
  const literals = parts.filter((_, n) => n % 2 === 0).map((literal) => RegExp.escape(decodeURIComponent(literal)));
  const names = parts.filter((_, n) => n % 2 === 1);
  return { name, method: request.method, names, pattern: new RegExp(`^${literals.join("([^/?]+)")}$`), steps };
}
