#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# wordcount.sh PROGRAM CASE REPOSITORY: one test of the example `wordcount`; each function below
# that has no `_` in front is a case. Status 77: the case cannot be run here.
set -euo pipefail
export LC_ALL=C

_program=$1 _case=$2 _repository=$3
_folder=$(mktemp -d)
trap 'chmod -R u+rwx "$_folder"; rm -rf "$_folder"' EXIT
cd "$_folder"

_fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
_skip() { printf 'skipped: %s\n' "$*"; exit 77; }

# _run STATUS ARGUMENT...: runs the program into the files `out` and `err` and expects a status.
_run() {
  local expected=$1 status=0
  shift
  "$_program" "$@" >"$_folder/out" 2>"$_folder/err" || status=$?
  [ "$status" = "$expected" ] ||
    _fail "status $status, not $expected, of: wordcount $*"$'\n'"$(cat "$_folder/err")"
}

_expect_output() {
  diff "$1" "$_folder/out" >&2 || _fail 'the output differs ("<" is what was expected)'
}

_expect_complaint() {
  grep -qF -- "$1" "$_folder/err" || _fail "'$1' is not in: $(cat "$_folder/err")"
}

# The same job with the tools of the system. `sed` ends the last line of each file.
_pipeline() {
  find -H "$@" -type f -exec grep -Il '' {} + | tr '\n' '\0' | xargs -0 sed '$a\' |
    tr -cs A-Za-z '\n' | sed '/^$/d' | sort | uniq -c | sort -k1,1nr -k2,2 | sed -n 1,20p
}

# A small tree with what trees have in them: empty files, odd names, binaries, ties, bytes that are
# no ASCII, last lines without end, depth.
_make_tree() {
  mkdir -p tree/a/b/c 'tree/name with spaces' tree/-v
  : >tree/empty
  printf 'one two two three three three' >tree/no_line_end
  printf 'four Four FOUR four\nx-ray don'\''t _under_score_ 3d a1b2\n' >tree/a/marks
  printf 'na\303\257ve caf\303\251 \377\376 end\n' >tree/a/b/bytes
  printf 'text\0binary binary binary\n' >tree/a/b/c/binary
  printf 'spaces spaces\r\nspaces\t\ttabs\r\n' >'tree/name with spaces/file name'
  printf 'dash\n' >tree/-v/-dash
  local word i
  for word in zeta eta theta iota kappa lambda mu nu xi omikron pi rho sigma tau; do
    for i in 1 2 3; do printf '%s %s\n' "$word" "tie$i" >>"tree/a/$word"; done
  done
}

prints_what_the_pipeline_prints() {
  _make_tree
  _pipeline tree >expected
  [ "$(wc -l <expected)" = 20 ] || _fail 'the tree is too poor to fill 20 lines'
  _run 0 tree
  _expect_output expected
  _expect_complaint '1 binary ones left out'

  _pipeline tree/a tree/no_line_end tree/a >expected
  _run 0 -- tree/a tree/no_line_end tree/a
  _expect_output expected

  (cd tree/-v && _pipeline ./-dash >../../expected)
  (cd tree/-v && _run 0 -- -dash)
  _expect_output expected
}

prints_what_the_pipeline_prints_on_real_files() {
  cp -R "$_repository/include" "$_repository/tests" .  # Copied, for somebody may be editing there.
  local trees=(include tests) tree
  for tree in /usr/include/linux /usr/include/c++; do
    if [ -d "$tree" ]; then trees+=("$tree"); fi
  done
  _pipeline "${trees[@]}" >expected
  _run 0 "${trees[@]}"
  _expect_output expected
}

prints_the_same_with_plain_threads() {
  _make_tree
  local workers
  for workers in 1 2 7; do
    _run 0 --workers "$workers" tree "$_repository/include"
    mv out expected
    _expect_complaint '(pool)'
    _run 0 --threads --workers "$workers" tree "$_repository/include"
    _expect_output expected
    _expect_complaint '(plain std::thread)'
  done
}

# More files than are counted ahead of the merging, so that every limit on the way is met.
prints_the_same_with_any_number_of_workers() {
  mkdir many
  local i
  for ((i = 0; i < 5000; ++i)); do printf 'all w%s\n' "${i//[0-4]/x}" >"many/$i"; done
  _pipeline many >expected
  grep -qx ' *5000 all' expected || _fail 'a file is missing'
  for i in 1 2 3 16; do
    _run 0 --workers "$i" many
    _expect_output expected
  done
  _run 0 --threads --workers 3 many
  _expect_output expected
}

# Words that lie across the ends of the blocks in which files are read, and one of many blocks.
counts_long_and_divided_words_whole() {
  local before
  for before in 65533 65534 65535 65536 65537; do
    head -c "$before" /dev/zero | tr '\0' ' ' >"cut$before"
    printf 'divided word' >>"cut$before"
  done
  head -c 300000 /dev/zero | tr '\0' z >long
  printf ' short' >>long
  _pipeline cut* long >expected
  _run 0 cut* long
  _expect_output expected
}

prints_nothing_where_no_files_are() {
  mkdir nothing
  : >expected
  _run 0 nothing
  _expect_output expected
  _run 0 --threads nothing
  _expect_output expected
}

names_missing_paths_and_counts_the_rest() {
  _make_tree
  _pipeline tree >expected
  ln -s nowhere dangling
  ln -s loop loop
  local mode path
  for mode in "" --threads; do
    _run 1 $mode missing dangling tree loop
    _expect_output expected
    for path in missing dangling loop; do _expect_complaint "wordcount: $path: "; done
  done
  _run 1 /dev/null tree
  _expect_output expected
  _expect_complaint 'wordcount: /dev/null: '
}

# A file and a folder below a path that cannot be read. Permissions do not stop root, but reading
# one's own address zero stops everybody.
names_what_cannot_be_read_and_counts_the_rest() {
  _make_tree
  _pipeline tree >expected
  local paths=(tree) unreadable=() mode path
  if [ -f /proc/self/mem ] && ! head -c 1 /proc/self/mem >/dev/null 2>&1; then
    paths=(/proc/self/mem tree)
    unreadable=(/proc/self/mem)
  fi
  mkdir tree/closed_folder
  printf 'secret secret secret secret secret\n' | tee tree/closed_file >tree/closed_folder/file
  chmod 000 tree/closed_folder tree/closed_file
  if [ -r tree/closed_file ]; then
    chmod 700 tree/closed_folder
    rm -r tree/closed_folder tree/closed_file
  else
    unreadable+=(tree/closed_folder tree/closed_file)
  fi
  [ "${#unreadable[@]}" != 0 ] || _skip 'everything can be read here'

  for mode in "" --threads; do
    _run 1 $mode "${paths[@]}"
    _expect_output expected
    for path in "${unreadable[@]}"; do _expect_complaint "wordcount: $path: "; done
  done
}

# Links below a path are not followed, whatever they lead to; links given as paths are.
follows_no_symbolic_links_below_its_paths() {
  _make_tree
  _pipeline tree >expected
  ln -s .. tree/a/up
  ln -s self tree/a/self
  ln -s ../no_line_end tree/a/twice
  ln -s nowhere tree/a/dangling
  mkfifo tree/a/pipe
  _run 0 tree
  _expect_output expected
  ln -s tree link
  _run 0 link
  _expect_output expected
}

explains_wrong_options() {
  : >expected
  local workers
  for workers in 0 -1 abc 2x 1.5 '' ' 2' 99999999999999999999; do
    _run 2 --workers "$workers" .
    _expect_output expected
    _expect_complaint "--workers takes a whole number from 1 on, not '$workers'"
  done
  _run 2 --workers
  _expect_complaint '--workers takes a number'
  _run 2 --wrong .
  _expect_complaint "there is no option '--wrong'"
  _run 0 --help
  grep -q '^usage: wordcount ' out || _fail 'no usage'
}

draws_its_progress_on_terminals_only() {
  _make_tree
  _run 0 tree
  if grep -q $'[\r\033]' err; then _fail 'a progress bar without a terminal'; fi
  script -qec true /dev/null >/dev/null 2>&1 </dev/null || _skip 'script gives no terminal'
  script -qec "'$_program' tree 2>&1 >out" /dev/null </dev/null >terminal
  grep -q $'\r\\[#* *\\] [0-9]*/[0-9]* files' terminal || _fail "no progress bar: $(cat terminal)"
  _pipeline tree >expected
  _expect_output expected
}

# A result that cannot be written is a failure too.
fails_where_its_output_cannot_be_written() {
  [ -c /dev/full ] || _skip 'no /dev/full'
  _make_tree
  local status=0
  "$_program" tree >/dev/full 2>err || status=$?
  [ "$status" = 1 ] || _fail "status $status"
  _expect_complaint 'stdout: '
}

declare -F "$_case" >/dev/null && [ "${_case#_}" = "$_case" ] || _fail "there is no case '$_case'"
"$_case"
