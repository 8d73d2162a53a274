#!/usr/bin/env bash
# Runs the tests on a busy machine: at the lowest priority, beside two busy loops of the same priority, in the
# background, where Ctrl-C is ignored. Arguments are passed to pytest, after $PYTEST_ARGS (as in the Makefile, several
# processes by default); the exit code is pytest's.
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
read -ra processes <<<"${PYTEST_ARGS---numprocesses auto --maxprocesses 4 --dist loadfile}"

jobs=()
end() { kill "${jobs[@]}" 2>/dev/null; }
trap end EXIT
trap 'exit 143' TERM HUP

for _ in 1 2; do
  nice -n 19 sh -c 'while :; do :; done' </dev/null &
  jobs+=($!)
done
nice -n 19 "$python" -m pytest "${processes[@]}" "$@" </dev/null &  # a script's background jobs ignore SIGINT
jobs+=($!)
wait $!
code=$?
echo "pytest ended with exit code $code after $SECONDS s, at nice 19 beside two busy loops on $(nproc) processors"
exit "$code"
