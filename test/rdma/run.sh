#!/usr/bin/env bash
# What `npm run test:rdma` runs where the RDMA devices are: DIASPORA_TEST_VERBS names two addresses of theirs.
set -uo pipefail
failures=()

step() { # step NAME COMMAND...
  printf '\n#### %s\n' "$1"
  "${@:2}" || failures+=("$1")
}

says() { # says PATTERN COMMAND...: shows what the command says; succeeds when it does and a line of that matches
  local said status=0
  said=$("${@:2}" 2>&1) || status=$?
  printf '%s\n' "$said"
  ((status == 0)) && grep -q -- "$1" <<<"$said"
}

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
  says '^chosen  *\(tcp\|net\):' "${limited[@]}" node dist/lib/cli/main.js info
}

# The kernel's own count of what all processes hold of each device: queue pairs, completion queues, registrations.
before=$(rdma resource show)
as_before() {
  rdma resource show
  [[ $(rdma resource show) == "$before" ]]
}

step 'RDMA devices' says PORT_ACTIVE ibv_devinfo
step 'diaspora info' says '^chosen  *verbs;ofi_rxm' node dist/lib/cli/main.js info
step 'a process that may lock 8 MiB' little_memory_to_lock
step 'native transfers (GoogleTest)' build-test/fabric_tests --gtest_brief=0 --gtest_filter='*/verbs'
step 'no memory of a server is open' run_node_tests dist/test/rdma/audit.js
step 'no copies' run_node_tests dist/test/rdma/zero-copy.js
step 'two rails' run_node_tests dist/test/rdma/rails.js
DIASPORA_KILL_ROUNDS=${DIASPORA_KILL_ROUNDS:-3} step 'kill -9 in the middle of transfers' run_node_tests dist/test/rdma/kill.js
step 'conformance' run_node_tests dist/test/rdma/conformance.js
# That it runs, not how fast: the adapter is emulated.
step 'benchmark' env DIASPORA_NATIVE_BENCH_DIR=build-test node dist/bench/index.js --provider verbs \
  --hosts "$DIASPORA_TEST_VERBS" --only small,1m,latency --scale 0.001 --runs 1 --out "$(mktemp)"
step 'nothing is left registered' as_before

printf '\n== RDMA: %s\n' "$([[ ${#failures[@]} == 0 ]] && echo passed || echo FAILED)"
((${#failures[@]} == 0)) || printf 'failed: %s\n' "${failures[@]}"
exit $((${#failures[@]} > 0))
