# Sourced by ax: does a guest's file fit into its VM? Looked at before anything is set up, so with what every machine has (bash, od).
# Uses arch, ram, code_alignment, elf_machine, memory, flat, initrd and dtb of ax; where the files go is said in examples/hypervisor/loader.cpp.

readable() { # what file
  [ -e "$2" ] || refuse "$1 '$2' does not exist: give the path of a file"
  [ -f "$2" ] && [ -r "$2" ] || refuse "$1 '$2' cannot be read: give a readable file"
  [ -s "$2" ] || refuse "$1 '$2' is empty: give a file with something in it"
}

words_at() { od -An -v -w"${4:-$3}" -tx8 --endian=little -j"$2" -N"$3" -- "$1"; }  # file offset count [bytes a line]

too_large() { refuse "$1 is larger than the VM's memory of $memory MiB: use --memory"; }

# An ELF file's segments go to their physical addresses. Sets start and end. Requires its first words in w.
check_elf() { # file size
  local file=$1 size=$2 phoff=$((w[4])) entry=$((w[3])) entry_size=$((w[6] >> 48 & 0xffff)) count=$((w[7] & 0xffff)) damaged
  damaged="image '$file' is damaged or cut short: give a whole ELF file"
  (((w[0] >> 32 & 0xff) == 2 && (w[0] >> 40 & 0xff) == 1)) || refuse "image '$file' is no 64-bit little-endian ELF file: give one for $arch"
  (((w[2] >> 16 & 0xffff) == elf_machine)) || refuse "image '$file' is for another architecture: give one for $arch"
  ((size >= 64)) || refuse "$damaged"
  ((count > 0)) || refuse "image '$file' has no segments to load: link it first"
  ((entry_size == 56 && phoff >= 0 && phoff <= size - 56 * count)) || refuse "$damaged"
  start=$top end=$ram
  local type offset paddr filesz memsz inside=
  while read -r type offset _ paddr filesz memsz _; do
    (((16#$type & 0xffffffff) == 1)) || continue  # PT_LOAD
    offset=$((16#$offset)) paddr=$((16#$paddr)) filesz=$((16#$filesz)) memsz=$((16#$memsz))
    ((memsz != 0)) || continue
    ((offset >= 0 && offset <= size && filesz >= 0 && filesz <= size - offset)) || refuse "$damaged"
    ((memsz < 0 || filesz <= memsz)) || refuse "$damaged"
    ((paddr >= ram)) || refuse "image '$file' has a segment at $(printf %#x "$paddr"), and the VM's memory begins at $ram: link it for there"
    ((paddr < top && memsz > 0 && memsz <= top - paddr)) || refuse "image '$file' needs memory at $(printf %#x "$paddr"), beyond the VM's $memory MiB from $ram on: use --memory"
    ((paddr >= start)) || start=$paddr
    ((paddr + memsz <= end)) || end=$((paddr + memsz))
    ((entry < paddr || entry >= paddr + memsz)) || inside=1
  done < <(words_at "$file" "$phoff" $((56 * count)) 56)
  ((start < end)) || refuse "image '$file' has no segments to load: link it first"
  ((entry % code_alignment == 0)) || refuse "image '$file' starts at $(printf %#x "$entry"), where no instruction can be: give it an entry that is a multiple of $code_alignment"
  [ -n "$inside" ] || refuse "image '$file' starts at $(printf %#x "$entry"), where it loads nothing: link it at physical addresses"
}

check_image() { # file; refuses what cannot run
  local file=$1 size start end top=$((ram + memory * 1048576)) limit room at w linux
  readable image "$file"
  size=$(stat -Lc %s -- "$file")
  read -r -d '' -a w < <(words_at "$file" 0 64 64) || true
  w=("${w[@]/#/0x}"); while ((${#w[@]} < 8)); do w+=(0); done
  case $((w[7] & 0xffffffff)) in $((0x644d5241))) linux=aarch64 ;; $((0x05435352))) linux=riscv64 ;; *) linux= ;; esac
  if [ -n "$flat" ]; then
    ((flat < top)) || refuse "--flat $(printf %#x "$flat") lies beyond the VM's memory of $memory MiB from $ram on: give a lower one, or use --memory"
    start=$flat end=$((flat + size))
    ((size <= top - flat)) || too_large "image '$file'"
  elif (((w[0] & 0xffffffff) == 0x464c457f)); then
    check_elf "$file" "$size"
  elif [ -n "$linux" ]; then
    [ $linux = "$arch" ] || refuse "image '$file' is for $linux: give one for $arch"
    local text=$((w[1])) needs=$((w[2]))
    ((needs >= size)) || { ((needs >= 0)) && needs=$size; } || too_large "image '$file'"
    start=$((ram + image_offset + text))
    ((text % code_alignment == 0)) || refuse "image '$file' is damaged: its text offset is no multiple of $code_alignment"
    ((text >= 0 && text < top - ram - image_offset && needs <= top - start)) || too_large "image '$file'"
    end=$((start + needs))
  elif (((w[0] & 0xffff) == 0x8b1f)); then
    refuse "image '$file' is compressed: unpack it with gzip first"
  else
    refuse "image '$file' has no known format: use a Linux Image or an ELF file, or --flat ADDR"
  fi
  # The device tree goes to the start of memory where that is free, else to the end; the initrd right behind the image.
  room=$((start - ram)) limit=$top
  ((room >= 65536)) || room=65536 limit=$((top - 65536))
  ((end <= limit)) || too_large "image '$file'"
  if [ -n "$dtb" ]; then
    [ "$(words_at "$dtb" 0 4 8 | tr -d ' ')" = 00000000edfe0dd0 ] || refuse "dtb '$dtb' is no device tree: give one that dtc has written"
    (($(stat -Lc %s -- "$dtb") <= room)) || refuse "dtb '$dtb' is larger than the $((room / 1024)) KiB that are free for it: give a smaller one"
  fi
  if [ -n "$initrd" ]; then
    at=$(((end + 0x1fffff) & ~0x1fffff))
    ((at < limit && $(stat -Lc %s -- "$initrd") <= limit - at)) || too_large "initrd '$initrd' behind the image"
  fi
}
