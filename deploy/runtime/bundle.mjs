/** Bundle a Worker into one module, as wrangler does: what the platform brings itself stays outside. */

import { build, stop } from "esbuild";

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
  // Its service is a process of its own, and would stay as long as this one.
  await stop();
  return built.outputFiles[0].text;
}
