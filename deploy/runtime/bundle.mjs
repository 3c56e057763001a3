/** Bundle a Worker into one module, as wrangler does: what the platform brings itself stays outside. */

import { build } from "esbuild";

/** Return the text of the module. */
export async function bundle(entry) {
  const built = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker"],
    external: ["cloudflare:*", "node:*"],
    logLevel: "error",
  });
  return built.outputFiles[0].text;
}
