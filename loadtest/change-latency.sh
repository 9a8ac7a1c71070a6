#!/bin/bash
# From a change in etcd to the first request decided by it, measured with release builds on loopback.
#
#   loadtest/change-latency.sh                      one of 10,000 rules changes, 200 times
#   loadtest/change-latency.sh --members 1000000    one user joins a list of a million, 200 times
#   loadtest/change-latency.sh --members 10000000   the same with ten million; takes minutes and 4 GB to set up
#
# Further options: --rules N, --changes N, --pause MILLISECONDS. Ends by itself after LIMIT (default 15m).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --bin graygate --example change-latency
target=${CARGO_TARGET_DIR:-target}/release
exec timeout "${LIMIT:-15m}" "$target/examples/change-latency" --graygate "$target/graygate" "$@"
