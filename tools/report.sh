# Sourced by test.sh: counts results, and says of what failed how to run it alone. Uses root, log, l (the level), arch, full and the rest
# of the command line.
passed=0 failed=0 skipped=0 skipped_only=
declare -A passed_on failed_on   # by architecture

result() { # label good bad [skipped]
  passed=$((passed + $2)) failed=$((failed + $3))
  if [ -n "${arch:-}" ]; then passed_on[$arch]=$((${passed_on[$arch]:-0} + $2)) failed_on[$arch]=$((${failed_on[$arch]:-0} + $3)); fi
  printf '%-34s %4d ok %4d bad%s\n' "$1" "$2" "$3" "$([ "${4:-0}" = 0 ] || printf ' %4d skipped' "$4")"
}

quoted() { # words, as a shell takes them
  local w
  for w; do if [[ $w =~ ^[A-Za-z0-9_=./:+-]+$ ]]; then printf ' %s' "$w"; else printf ' %s' "${w@Q}"; fi; done
}

# The command that runs what runs now, without anything else.
level_command() {
  case $l in
    coverage) echo "./ax test --coverage" ;;
    mutate) echo "./ax test --mutate${mutate_part:+ $mutate_part}" ;;
    fuzz) echo "./ax test fuzz${minutes:+ --minutes $minutes}" ;;
    *) echo "./ax test $l${arch:+ $arch}${full:+ --full}" ;;
  esac
}

# What a crash has printed, whole: from its first line to the end, or to the next result. Then the end of the output, if that is not it.
crash() { # file
  local report
  report=$(awk '/host fault on CPU|ERROR: [A-Za-z]*Sanitizer|: runtime error: |library assertion/ {on = 1}
    /^(ok|not ok) [0-9]|^# case |^1\.\./ {on = 0}
    on && n++ < 300 {print "  | " $0}' "$1")
  [ -z "$report" ] || echo "$report"
  [ "${report##*$'\n'}" = "  | $(tail -n 1 "$1")" ] || tail -n 12 "$1" | sed 's/^/  | /'
}

# How to run one case alone, and in gdb. A function `debug`, by its name, makes the command for gdb of what Catch2 is told.
rerun() { # debug file case
  local name choice=() seed
  name=$(sed 's/[\\,"[]/\\&/g' <<<"$3")
  choice=("$name")
  if [[ $3 = "a hostile guest"* ]]; then   # the life that failed, or in which it ended
    seed=$(awk -v name="# case $3" '/^# case / {on = $0 == name} on' "$2" | awk '
      /^#   / && !said && match($0, /hostile: seed=[0-9]+ life=[0-9]+/) {said = substr($0, RSTART, RLENGTH)}
      /^# hostile: seed=/ {last = $0}
      END {print said ? said : last}')
    choice+=(${seed#*hostile: })
  fi
  seed=$(sed -n 's/^# rng-seed //p' "$2" | head -n 1)
  [ -z "$seed" ] || choice+=(--rng-seed "$seed")
  echo "  rerun: $(level_command) --$(quoted "${choice[@]}")"
  [ "$(type -t "${1/gdb/alone}")" != function ] || echo "  on this machine alone: $("${1/gdb/alone}" "${choice[@]}")"
  echo "  in gdb: $("$1" "${choice[@]}")"
}

# Whether a skip is one that test/expected-skips gives the reason for.
expected_skip() { # label case
  awk -F'\t' -v label="$1" -v name="$2" '!/^#/ && label ~ $1 && index(name, $2) == 1 {found = 1} END {exit !found}' "$root/test/expected-skips"
}

# Counts the TAP lines of a suite. A suite that ends early, hangs, or runs no case counts as one failure and names its last case; one
# that has none of the cases that were asked for, or skips them, counts as nothing. `debug`: see rerun; without it the level is the unit.
tap() { # label file status [debug]
  local label=$1 file=$2 status=$3 debug=${4:-} good bad plan skips=0 name last=
  good=$(grep -ac '^ok ' "$file") bad=$(grep -ac '^not ok ' "$file") plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$file" | tail -n 1)
  if [ -n "$debug" ] && ((${#catch2[@]} && bad == 0 && (status == 2 || status == 4))) && [ "${plan:-none}" = "$good" ]; then
    ((status == 2)) || skipped_only=1
    printf '%-34s not there%s\n' "$label" "$( ((status == 2)) || echo ': skipped')"
    return
  fi
  while IFS= read -r name; do
    good=$((good - 1))
    if expected_skip "$label" "$name"; then skips=$((skips + 1)); else bad=$((bad + 1)); echo "  $label: skipped, and test/expected-skips does not say why: $name"; fi
  done < <(grep -a '^ok .* # SKIP' "$file" | sed 's/^ok [0-9]* - //; s/ # SKIP$//')
  skipped=$((skipped + skips))
  if [ "${plan:-0}" != $((good + bad + skips)) ] || [ "${plan:-0}" = 0 ] || { ((status != 0)) && ((bad == 0)); }; then
    last=$(grep -a '^# case' "$file" | tail -n 1)
    echo "  $label: ended early with status $status$([ "$status" != 124 ] || echo ', the time limit'), $((good + bad + skips)) results of ${plan:-an unknown number}, in: ${last:-no case}"
    ((status != 5 || ${#catch2[@]} == 0)) || echo "  is '${catch2[*]}' a filter as Catch2 takes it?"
    crash "$file"
    bad=$((bad + 1))
  fi
  if ((bad > 0)); then
    [ -n "${shown:-}" ] || grep -aE '^(not ok|#  )' "$file" | sed 's/^/  /'
    if [ -z "$debug" ]; then echo "  rerun: $(level_command)$([[ $label != maintenance* ]] || echo " -- maintenance")"; else
      { sed -n 's/^not ok [0-9]* - //p' "$file"; [ -z "$last" ] || echo "${last#\# case }"; } | head -n 5 | while IFS= read -r name; do rerun "$debug" "$file" "$name"; done
      [ -n "$last" ] || grep -aq '^not ok' "$file" || echo "  rerun: $(level_command)"
    fi
  fi
  result "$label" "$good" "$bad" "$skips"
}

# TAP from a program of ours, which says itself how to run one of its results again. lines LABEL COMMAND...
lines() {
  local label=$1 shown=1; shift
  "$@" 2>&1 | tee "$log/lines" | { if [ -t 1 ] || [ "$l" = mutate ]; then cat; else grep -a --line-buffered '^not ok\|^#'; fi; }
  tap "$label" "$log/lines" "${PIPESTATUS[0]}"
}

# One yes-or-no check: check LABEL COMMAND...; prints what the command said when it failed.
check() {
  local label=$1; shift
  if "$@" >"$log/check" 2>&1; then result "$label" 1 0; return; fi
  crash "$log/check"
  echo "  rerun: $(level_command)"
  [ "$(type -t "$1")" = function ] || [ "$1" = '[' ] || echo "  alone: AX_ROOT=$root$(quoted "$@")"
  result "$label" 0 1
}

# The cases whose names are like what was asked for, and the tags; where these levels have none, those that the sources of others have.
near() {
  local names
  names=$(for l in "${levels[@]}"; do for arch in "${archs[@]}"; do list_$l --list-tests -v quiet; list_$l --list-tags | grep -ao '\[.*\]'; done; done 2>/dev/null |
    tr -d '\r' | python3 "$root/tools/near.py" "${catch2[@]}")
  [ -n "$names" ] || names=$(cd "$root/test" && grep -roE 'TEST_CASE\("[^"]*' host system | sed 's/TEST_CASE("//' | python3 "$root/tools/near.py" "${catch2[@]}")
  [ -n "$names" ] || { echo "  no case is called ${catch2[*]}, or nearly so: ./ax test $levels -- --list-tests shows all"; return; }
  echo "  no case is called ${catch2[*]}; near ones:"
  sed 's/^/    /' <<<"$names"
}

finish() {
  if ((${#catch2[@]} && passed + failed == 0)); then
    if [ -n "$skipped_only" ]; then echo "  every case that this names skips itself on every machine here"; else near; fi
  fi
  printf '%-34s %4d s\n' "all levels" $SECONDS
  local a
  for a in aarch64 riscv64 x86_64; do [ -z "${passed_on[$a]:-}" ] || printf '%-34s %4d ok %4d bad\n' "all levels, $a" "${passed_on[$a]}" "${failed_on[$a]}"; done
  [ $skipped = 0 ] || printf '%-34s %4d\n' "skipped, each for a known reason" $skipped
  echo "$passed passed, $failed failed"
  ((failed == 0 && passed > 0)) || exit 1
  exit 0
}
