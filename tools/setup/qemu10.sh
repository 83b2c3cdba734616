# QEMU 10 from bookworm-backports, unpacked into the cache and never installed (installing it would
# replace 7.2, which the tests need, and upgrade seabios); sourced.

qemu10_home=$cache/qemu10

qemu10_setup() {
    if [ -x "$qemu10_home/qemu-system-x86_64" ]; then
        say "QEMU 10: unpacked already ($qemu10_home)."
        return
    fi
    say "QEMU 10: unpacking it into the cache (an extra test machine; QEMU 7.2 stays as it is)"
    qemu10_unpack || warn "QEMU 10 can't be had; the machine qemu10-1 will be left out"
}

# Called where `set -e` is off, so every step is chained.
qemu10_unpack() {
    local packages work=$qemu10_home.new
    rm -rf "$work"
    apt_root bookworm-backports deb bookworm bookworm-backports || return 1
    # With the machine's own package state apt itself says which packages QEMU 10 would bring along.
    cp /var/lib/dpkg/status "$apt_root/status"
    packages=$(apt_in "$apt_root" -s -t bookworm-backports install --no-install-recommends \
        qemu-system-x86 | awk '
        $1 == "Inst" { v = ($3 ~ /^\[/) ? $4 : $3; sub(/^\(/, "", v); print $2 "=" v }')
    [ -n "$packages" ] || return 1
    # shellcheck disable=SC2086
    apt_unpack "$apt_root" "$work/unpacked" $packages || return 1
    cat >"$work/qemu-system-x86_64" <<'WRAPPER'
#!/bin/sh
# QEMU 10 with the libraries and firmware that came with it.
root=$(dirname "$(readlink -f "$0")")/unpacked/usr
LD_LIBRARY_PATH=$root/lib/x86_64-linux-gnu exec "$root/bin/qemu-system-x86_64" \
    -L "$root/share/qemu" -L "$root/share/seabios" "$@"
WRAPPER
    chmod +x "$work/qemu-system-x86_64" &&
        "$work/qemu-system-x86_64" --version >/dev/null &&
        rm -rf "$qemu10_home" &&
        mv "$work" "$qemu10_home" &&
        say "QEMU 10: $("$qemu10_home/qemu-system-x86_64" --version | head -n 1)"
}

qemu10_describe() {
    if [ -x "$qemu10_home/qemu-system-x86_64" ]; then
        echo "QEMU10=$qemu10_home/qemu-system-x86_64"
    fi
}
