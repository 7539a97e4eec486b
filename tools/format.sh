#!/bin/bash
# clang-format on the lines that differ from HEAD, and on files that git does not know yet. The rest stays as it was written: rows of
# tables and short bodies are laid out by hand.
set -euo pipefail
cd "${AX_ROOT:?}"
kinds=('*.cpp' '*.cppm' '*.hpp')
git diff -z --name-only --relative --diff-filter=d HEAD -- "${kinds[@]}" | while IFS= read -r -d '' file; do
  lines=()
  while read -r first count; do
    ((${count:-1} == 0)) || lines+=("--lines=$first:$((first + ${count:-1} - 1))")
  done < <(git diff --no-color --no-ext-diff -U0 HEAD -- "$file" | sed -n 's/^@@ [^+]*+\([0-9]*\),\{0,1\}\([0-9]*\) @@.*/\1 \2/p')
  ((${#lines[@]} == 0)) || clang-format-22 -i "${lines[@]}" -- "$file"
done
git ls-files -z --others --exclude-standard -- "${kinds[@]}" | xargs -0r clang-format-22 -i --
