#!/bin/sh
# Makes sure that Chromium is there for the tests that open pages in it; without it they are counted as NOT RUN.
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing Chromium for the tests of pages"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 && exit 0
fi
echo "no Chromium here and none could be installed: tests of pages will be counted as NOT RUN"
