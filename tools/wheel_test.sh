#!/bin/sh
# The wheel in an empty environment, away from the checkout: install, train an epoch, predict.
set -eu
python=$1
wheel=$(realpath "$2")
constraints=$(realpath constraints.txt)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$python" -m venv "$place/env"
"$place/env/bin/python" -m pip --disable-pip-version-check install -qq -c "$constraints" "$wheel"
cd "$place"
env/bin/striate train demo:fashion --epochs 1 --out run
env/bin/python -c "from PIL import Image; Image.new('L', (28, 28), 90).save('picture.png')"
env/bin/striate predict run picture.png
test -s run/report.html
echo "the wheel installs, trains, predicts and reports"
