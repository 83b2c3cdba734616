# Firmware for guests, from Debian's packages, unpacked into the cache and never installed; sourced.
# `make firmware` copies the images to build/firmware, from where the host tool takes them.

firmware_home=$cache/firmware

# image in the cache     package    file in it
firmware_list='
bios-256k.bin            seabios    usr/share/seabios/bios-256k.bin
bios-microvm.bin         seabios    usr/share/seabios/bios-microvm.bin
vgabios-stdvga.bin       seabios    usr/share/seabios/vgabios-stdvga.bin
ovmf-code.bin            ovmf       usr/share/OVMF/OVMF_CODE_4M.fd
ovmf-variables.bin       ovmf       usr/share/OVMF/OVMF_VARS_4M.fd
u-boot.bin               u-boot-qemu usr/lib/u-boot/qemu-x86/u-boot.rom
grub-efi.bin             grub-efi-amd64-bin usr/lib/grub/x86_64-efi/monolithic/grubx64.efi
grub-rescue-cdrom.bin    grub-rescue-pc usr/lib/grub-rescue/grub-rescue-cdrom.iso
grub-rescue-floppy.bin   grub-rescue-pc usr/lib/grub-rescue/grub-rescue-floppy.img
'

firmware_setup() {
    local packages
    if printf '%s\n' "$firmware_list" | cmp -s - "$firmware_home/wanted"; then
        say "guests' firmware: unpacked already ($(xargs <"$firmware_home/release"))."
        return
    fi
    packages=$(printf '%s\n' "$firmware_list" | awk 'NF { print $2 }' | sort -u | xargs)
    say "guests' firmware: downloading $packages"
    firmware_unpack $packages ||
        stop "guests' firmware ($packages) can't be had from Debian's archive; is the network there?"
}

# Called where `set -e` is off, so every step is chained.
firmware_unpack() {
    local work=$firmware_home.new image file
    rm -rf "$work" && mkdir -p "$work/unpacked" &&
        apt_root bookworm deb bookworm &&
        apt_unpack "$apt_root" "$work/unpacked" "$@" || return 1
    printf '%s\n' "$firmware_list" | awk 'NF { print $1, $3 }' | while read -r image file; do
        cp "$work/unpacked/$file" "$work/$image" || exit 1
    done || return 1
    apt-cache -c "$apt_root/apt.conf" show --no-all-versions "$@" |
        awk '/^Package:/ { p = $2 } /^Version:/ { print p "=" $2 }' >"$work/release" &&
        printf '%s\n' "$firmware_list" >"$work/wanted" &&
        rm -rf "$work/unpacked" "$firmware_home" && mv "$work" "$firmware_home"
}

firmware_describe() {
    echo "FIRMWARE=$firmware_home"
}
