#!/bin/bash
# What report.sh makes of a suite's output: outputs as images give them, whole and cut short, and what has to be said of each.
set -uo pipefail
shopt -s lastpipe   # said() counts in this shell
root=$(cd "$(dirname "$0")/.." && pwd)
log=$(mktemp -d); trap 'rm -rf "$log"' EXIT
l=system arch=aarch64 full= minutes= mutate_part= catch2=() wrong=0
. "$root/tools/report.sh"
gdb_here() { echo "gdb-command$(quoted "$@")"; }
alone_here() { echo "alone-command$(quoted "$@")"; }

# said NAME STATUS GOOD BAD WORDS...: the output is on stdin; each of WORDS stands in a line of what is said.
said() {
  local name=$1 status=$2 good=$3 bad=$4 out words; shift 4
  cat >"$log/suite"
  out=$(tap here "$log/suite" "$status" gdb_here)
  tail -n 1 <<<"$out" | grep -qE "^here +$good ok +$bad bad" || { echo "$name: not $good ok and $bad bad:"; sed 's/^/  /' <<<"$out"; wrong=1; }
  for words; do grep -qF -- "$words" <<<"$out" || { echo "$name: nothing says '$words':"; sed 's/^/  /' <<<"$out"; wrong=1; }; done
}
said_nothing() { # NAME STATUS: counts for nothing
  cat >"$log/suite"
  local out; out=$(tap here "$log/suite" "$2" gdb_here)
  grep -q "not there" <<<"$out" || { echo "$1: $out"; wrong=1; }
}
output() { printf '# rng-seed 77\n'; printf '%s\n' "$@"; }

output '# case one' 'ok 1 - one' '# case two' 'ok 2 - two' '1..2' | said "all pass" 0 2 0
output '# case one' 'ok 1 - one' '# case two' '#   file.cpp:3: CHECK( 1 == 2 )' 'not ok 2 - two' '1..2' | said "one fails" 42 1 1 \
  "CHECK( 1 == 2 )" "rerun: ./ax test system aarch64 -- two --rng-seed 77" "on this machine alone: alone-command two --rng-seed 77" "in gdb: gdb-command two --rng-seed 77"
output '# case one' 'ok 1 - one' '# case two' 'host fault on CPU 0: data abort' '  at 0x1234 f()' | said "a crash" 99 1 1 "status 99" "in: # case two" "host fault on CPU 0: data abort" "0x1234 f()" "-- two --rng-seed 77"
output '# case one' 'ok 1 - one' '# case two' | said "a hang" 124 1 1 "the time limit" "in: # case two" "-- two"
output '# case one' 'ok 1 - one' '# case two' | said "an end in the middle, with status 0" 0 1 1 "ended early with status 0" "in: # case two"
output '1..0' | said "no case" 0 0 1 "ended early"
: | said "no output" 0 0 1 "in: no case"
output '# case one' 'ok 1 - one' '# case two' '1..2' | said "a result that is lost" 0 1 1 "1 results of 2"
output '# case one' 'ok 1 - one' '1..1' | said "all pass, and the image ends with an error" 3 1 1 "ended early with status 3"
output '# case one' 'ok 1 - one # SKIP no reason' '# case two' 'ok 2 - two' '1..2' | said "a skip without a reason" 0 1 1 "test/expected-skips does not say why: one"
output '# case a hostile guest' '# hostile: seed=3 life=7' '#   f.cpp:1: REQUIRE( e )  (hostile: seed=3 life=7)' '# hostile: seed=4 life=0' 'not ok 1 - a hostile guest' '1..1' |
  said "a seed that failed, not the last one" 42 0 1 "-- 'a hostile guest' seed=3 life=7"
output '# case a hostile guest' '# hostile: seed=3 life=7' '# hostile: seed=3 life=8' 'host fault on CPU 0' | said "a seed that brought it down" 99 0 1 "-- 'a hostile guest' seed=3 life=8"
output '# case a hostile guest' '# hostile: seed=3 life=7' 'ok 1 - a hostile guest' '# case two' '#   f.cpp:1: REQUIRE( e )' 'not ok 2 - two' '# case a hostile guest again' '# hostile: seed=9 life=1' 'host fault on CPU 0' |
  said "one fails, and a seed brings the rest down" 99 1 2 "-- two --rng-seed" "-- 'a hostile guest again' seed=9 life=1"
catch2=(three)
output '1..0' | said_nothing "a case that is not there" 2
output '# case three' | said "an end in the middle with the status of no case" 2 0 1 "ended early with status 2" "in: # case three"
catch2=()
# That a wrong expectation is one: told of none, the last of these is.
expected=$wrong
output 'ok 1 - one' '1..1' | said "a wrong expectation" 0 2 0 >/dev/null
[ $wrong = 1 ] || { echo "a wrong expectation passes"; exit 1; }
exit $expected
