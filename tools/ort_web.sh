#!/bin/sh
# Makes sure that onnxruntime-web is there for the test of the page that runs a model in the browser; without it that is NOT RUN.
cd "$(dirname "$0")/.." || exit 1
[ -f node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs ] && exit 0
if command -v npm >/dev/null 2>&1; then
    echo "installing onnxruntime-web for the test of its page"
    npm install --no-save --no-package-lock --ignore-scripts --no-audit --no-fund onnxruntime-web@1.30.0 >/dev/null 2>&1 && exit 0
fi
echo "no onnxruntime-web here and none could be installed: the test of its page will be counted as NOT RUN"
