import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

// Built beside the Python package's modules, which serve it: no host, no content from elsewhere, nothing inlined (the page's policy forbids it).
export default defineConfig({
  plugins: [svelte()],
  build: { outDir: "../static", emptyOutDir: true, target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
