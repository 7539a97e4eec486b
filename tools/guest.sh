# Sourced by setup.sh with `part` (a directory to fill) and `arch` (Debian's name): Debian's installer kernel as `linux`, and
# `initramfs.gz` with the installer's own busybox and C library around tools/init.sh.
say "fetching the Linux guest for $arch"
case $arch in
  arm64) triplet=aarch64-linux-gnu loader=lib/ld-linux-aarch64.so.1 vectors=-march=armv8-a+sve ;;
  riscv64) triplet=riscv64-linux-gnu loader=lib/ld-linux-riscv64-lp64d.so.1 vectors=-march=rv64gcv ;;
  *) failed "there is no guest for '$arch'" ;;
esac
work=$(mktemp -d); chmod 755 "$work"
trap "rm -rf '$work' '$part'" EXIT
(mkdir "$work/apt" && private_apt "$work/apt" update && cd "$work" && private_apt "$work/apt" download "debian-installer-13-netboot-$arch") || failed "the guest cannot be fetched: check the network"
images=./usr/lib/debian-installer/images/13/$arch/text/debian-installer/$arch
dpkg-deb --fsys-tarfile "$work"/*.deb | tar -x -C "$work" "$images/linux" "$images/initrd.gz"
mkdir -p "$work/installer" "$work/root"/{bin,proc,sys,dev,lib,lib64}
(cd "$work/installer" && gzip -dc "../$images/initrd.gz" | cpio -idm --quiet 2>/dev/null) || true   # device nodes need root; the copies below check what counts
libs=$work/installer/usr/lib/$triplet
cp "$work/installer/usr/bin/busybox" "$work/root/bin/"
ln -s busybox "$work/root/bin/sh"
cp -L "$libs/libc.so.6" "$libs/libresolv.so.2" "$work/root/lib/"
cp -L "$libs/${loader##*/}" "$work/root/$loader"
[ ! -e "$libs/libm.so.6" ] || cp -L "$libs/libm.so.6" "$work/root/lib/"
clang-22 --target=$triplet $vectors -O2 -ffreestanding -fno-stack-protector -static -nostdlib -fuse-ld=lld -o "$work/root/bin/vectors" "$root/tools/vectors.c" || failed "the guest's program does not compile"
cp "$root/tools/init.sh" "$work/root/init"
chmod +x "$work/root/init"
(cd "$work/root" && find . -exec touch -hd @0 {} + && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc --reproducible -R 0:0 --quiet | gzip -9n) >"$part/initramfs.gz"
mv "$work/$images/linux" "$part/linux"
rm -rf "$work"
trap "rm -rf '$part'" EXIT
