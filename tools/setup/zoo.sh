# Systems and loaders other than Linux, from Debian's packages, unpacked into the cache and never installed; sourced.
# `make guests-zoo` fetches them when it is called, and copies them to build/guests/zoo.

zoo_home=$cache/guests/zoo

# name there               architecture   package                 file in it
zoo_list='
u-boot.rom                 amd64          u-boot-qemu             usr/lib/u-boot/qemu-x86/u-boot.rom
ipxe.lkrn                  amd64          ipxe                    boot/ipxe.lkrn
ipxe.iso                   amd64          ipxe                    usr/lib/ipxe/ipxe.iso
pxe-virtio.rom             amd64          ipxe-qemu               usr/lib/ipxe/qemu/pxe-virtio.rom
memtest86+x64.bin          amd64          memtest86+              boot/memtest86+x64.bin
memtest86+x64.iso          amd64          memtest86+              usr/lib/memtest86+/memtest86+x64.iso
memtest86+ia32.bin         amd64          memtest86+              boot/memtest86+ia32.bin
grub-rescue-cdrom.iso      amd64          grub-rescue-pc          usr/lib/grub-rescue/grub-rescue-cdrom.iso
grub-rescue-floppy.img     amd64          grub-rescue-pc          usr/lib/grub-rescue/grub-rescue-floppy.img
xen                        amd64          xen-hypervisor-4.17-amd64 boot/xen-4.17-amd64.gz
gnumach                    i386           gnumach-image-1.8-486   boot/gnumach-1.8-486.gz
'

zoo_setup() {
    if printf '%s\n' "$zoo_list" | cmp -s - "$zoo_home/wanted"; then
        say "other systems: unpacked already ($(xargs <"$zoo_home/release"))."
        return
    fi
    rm -rf "$zoo_home.new" && mkdir -p "$zoo_home.new/unpacked"
    zoo_unpack amd64 && zoo_unpack i386 && zoo_take ||
        stop "other systems can't be had from Debian's archive; is the network there?"
}

# The packages of one architecture. Called where `set -e` is off, so every step is chained.
zoo_unpack() {
    local packages
    packages=$(printf '%s\n' "$zoo_list" | awk -v a="$1" '$2 == a { print $3 }' | sort -u | xargs)
    say "other systems: downloading $packages ($1)"
    guests_apt_root bookworm "$1" && apt_unpack "$apt_root" "$zoo_home.new/unpacked" $packages &&
        apt-cache -c "$apt_root/apt.conf" show --no-all-versions $packages |
        awk '/^Package:/ { p = $2 } /^Version:/ { print p "=" $2 }' >>"$zoo_home.new/release"
}

# What is packed by gzip is unpacked: a loader would do it.
zoo_take() {
    local name file
    printf '%s\n' "$zoo_list" | awk 'NF { print $1, $4 }' | while read -r name file; do
        case $file in
        *.gz) gzip -dc "$zoo_home.new/unpacked/$file" >"$zoo_home.new/$name" || exit 1 ;;
        *) cp "$zoo_home.new/unpacked/$file" "$zoo_home.new/$name" || exit 1 ;;
        esac
    done || return 1
    printf '%s\n' "$zoo_list" >"$zoo_home.new/wanted" && rm -rf "$zoo_home.new/unpacked" "$zoo_home" &&
        mv "$zoo_home.new" "$zoo_home"
}
