// The build of the dashboard: `ui/build` runs it, the result in `dist` is checked in and goes into the binary.

import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

/** Writes each asset a second time, compressed: the server sends it as it is. */
function compress(): Plugin {
  return {
    name: "compress",
    apply: "build",
    enforce: "post",
    generateBundle(_, bundle) {
      for (const [name, item] of Object.entries(bundle)) {
        if (name.startsWith("assets/")) {
          const content = item.type === "chunk" ? item.code : item.source;
          this.emitFile({ type: "asset", fileName: `${name}.gz`, source: gzipSync(content, { level: 9 }) });
        }
      }
    },
  };
}

// For `npm run dev`: a server that runs without authentication, or to which one logs in.
const server = process.env["GYBE_URL"] ?? "http://127.0.0.1:9890";
const proxied = ["/vnflcm", "/vnfpkgm", "/v1.0", "/audit", "/events", "/ui/session"];

export default defineConfig({
  base: "/ui/",
  plugins: [compress()],
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    target: "es2022",
    // The page may have nothing inline, neither a script nor a picture.
    modulePreload: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  server: { proxy: Object.fromEntries(proxied.map((path) => [path, { target: server, changeOrigin: true }])) },
});
