import { defineConfig } from "vitest/config";

// A busy machine is not a wrong result.
export default defineConfig({ test: { include: ["test/**/*.test.ts"], environment: "node", testTimeout: 60_000, hookTimeout: 60_000 } });
