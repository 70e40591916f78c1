#!/usr/bin/env bash
# What `npm run test:rdma` runs where the RDMA devices are: DIASPORA_TEST_VERBS names two addresses of theirs.
set -uo pipefail
failures=()

step() { # step NAME COMMAND...
  printf '\n#### %s\n' "$1"
  "${@:2}" || failures+=("$1")
}

devices_are_active() {
  ibv_devinfo | tee /dev/stderr | grep -q PORT_ACTIVE
} 2>&1

info_chooses_verbs() {
  node dist/lib/cli/main.js info | tee /dev/stderr | grep -q '^chosen  *verbs;ofi_rxm'
} 2>&1

run_node_tests() {
  node --expose-gc --enable-source-maps --test --test-reporter=spec --test-concurrency=1 --test-timeout=600000 "$@"
}

# A login of a workstation or a container may lock 8 MiB (often less): asked for by name, verbs is refused with the
# remedy; `auto` takes another provider. Root may lock what it likes.
little_memory_to_lock() {
  local limited=(setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all prlimit "--memlock=$((8 << 20))")
  local said
  said=$("${limited[@]}" node dist/lib/cli/main.js info --provider verbs 2>&1) && return 1
  printf '%s\n' "$said"
  [[ $said == *PROVIDER_UNAVAILABLE* || $said == *'no provider works'* ]] || return 1
  [[ $said == *'may lock 8192 KiB'*'ulimit -l'* ]] || return 1
  "${limited[@]}" node dist/lib/cli/main.js info | tee /dev/stderr | grep -q '^chosen  *\(shm\|tcp\|net\)'
} 2>&1

step 'RDMA devices' devices_are_active
step 'diaspora info' info_chooses_verbs
step 'a process that may lock 8 MiB' little_memory_to_lock
step 'native transfers (GoogleTest)' build-test/fabric_tests --gtest_brief=0 --gtest_filter='*/verbs'
step 'no copies' run_node_tests dist/test/rdma/zero-copy.js
DIASPORA_KILL_ROUNDS=3 step 'kill -9 in the middle of transfers' run_node_tests dist/test/rdma/kill.js
step 'conformance' run_node_tests dist/test/rdma/conformance.js

printf '\n== RDMA: %s\n' "$([[ ${#failures[@]} == 0 ]] && echo passed || echo FAILED)"
((${#failures[@]} == 0)) || printf 'failed: %s\n' "${failures[@]}"
exit $((${#failures[@]} > 0))
