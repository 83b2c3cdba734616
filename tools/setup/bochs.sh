# Bochs 3.0 with our patch, built in the cache; sourced.  See tools/bochs/README.md.

bochs_tarball=bochs_3.0+dfsg.orig.tar.xz
bochs_sha256=78f6c73d4a6472d5130a87ab9dc306d02c7c71ed8e25b3a8ef642e2a7acd282b
bochs_options='--with-nogui --disable-docbook --disable-plugins --enable-cpu-level=6
    --enable-x86-64 --enable-smp --enable-vmx=2 --enable-svm --enable-avx --enable-evex
    --enable-fpu --enable-3dnow --enable-protection-keys --enable-cet --enable-memtype
    --enable-a20-pin --enable-all-optimizations --enable-handlers-chaining
    --enable-repeat-speedups --enable-fast-function-calls --enable-pci --enable-e1000
    --enable-ne2000 --enable-usb --enable-usb-xhci --enable-clgd54xx'
bochs_key=$(cat tools/bochs/*.patch <(echo $bochs_sha256 $bochs_options) | sha256sum | cut -c1-16)
bochs_home=$cache/bochs/3.0-$bochs_key

bochs_setup() {
    if [ -x "$bochs_home/bochs" ] && [ -f "$bochs_home/BIOS-bochs-latest" ]; then
        say "Bochs 3.0: built already ($bochs_home)."
        return
    fi
    say "Bochs 3.0: building it in the cache, a few minutes (it is the test machine that has VT-x)"
    bochs_fetch && bochs_build && return
    warn "no patched Bochs 3.0; falling back to the packaged Bochs (its interrupt fault is covered by the preemption timer)"
    packages_bochs='
bochs                 fallback: the test machine that has VT-x
bochsbios             its BIOS
vgabios               and video BIOS'
    (packages_install bochs) || warn "no Bochs at all: the machines vmx-1, vmx-2 and svm-1 will be skipped"
}

# The tarball, into the cache. apt fails when the archive lacks the .dsc; the checksum decides.
bochs_fetch() {
    local file=$cache/sources/$bochs_tarball
    sha256_is "$file" $bochs_sha256 && return
    mkdir -p "$cache/sources"
    apt_root trixie-src deb-src trixie || return 1
    (cd "$cache/sources" && apt_in "$apt_root" -q source --download-only bochs) \
        >"$apt_root/bochs.log" 2>&1 || true
    sha256_is "$file" $bochs_sha256 && return
    warn "the source of Bochs 3.0 can't be had, or is not the pinned one:"
    tail -n 5 "$apt_root/bochs.log" >&2
    return 1
}

# Called where `set -e` is off, so every step is chained.
bochs_build() {
    local work=$bochs_home.building
    rm -rf "$work" "$bochs_home"
    mkdir -p "$work/source" &&
        tar -xf "$cache/sources/$bochs_tarball" -C "$work/source" --strip-components=1 &&
        bochs_patch "$work/source" &&
        apt_root bookworm deb bookworm &&
        apt_unpack "$apt_root" "$work/firmware" bochsbios vgabios &&
        cp "$work/firmware/usr/share/bochs/BIOS-bochs-latest" "$work/" &&
        cp "$work/firmware/usr/share/vgabios/vgabios.bin" "$work/VGABIOS-lgpl-latest" &&
        bochs_compile "$work/source" >"$cache/bochs/build.log" 2>&1 &&
        strip -o "$work/bochs" "$work/source/bochs" &&
        rm -rf "$work/source" "$work/firmware" &&
        mv "$work" "$bochs_home" &&
        say "Bochs 3.0: built ($bochs_home)." && return
    warn "building Bochs failed; the end of $cache/bochs/build.log:"
    tail -n 15 "$cache/bochs/build.log" >&2 || true
    return 1
}

bochs_patch() {
    local patch
    for patch in tools/bochs/*.patch; do
        patch -s -p1 -d "$1" <"$patch" || return 1
    done
}

bochs_compile() (
    # shellcheck disable=SC2086
    cd "$1" && CFLAGS=-O2 CXXFLAGS=-O2 nice ./configure $bochs_options && nice make -j"$(nproc)" bochs
)

bochs_describe() {
    if [ -x "$bochs_home/bochs" ]; then
        echo "BOCHS=$bochs_home/bochs"
        echo "BOCHS_KIND=3.0-patched"
        echo "BOCHS_BIOS=$bochs_home/BIOS-bochs-latest"
        echo "BOCHS_VGABIOS=$bochs_home/VGABIOS-lgpl-latest"
    elif command -v bochs >/dev/null; then
        echo "BOCHS=$(command -v bochs)"
        echo "BOCHS_KIND=packaged"
        echo "BOCHS_BIOS=/usr/share/bochs/BIOS-bochs-latest"
        echo "BOCHS_VGABIOS=/usr/share/vgabios/vgabios.bin"
    fi
}
