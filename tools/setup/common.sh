# Shared by the set-up scripts; sourced.

cache=${SEPTUM_CACHE:-$HOME/.cache/septum}

say() { printf 'setup: %s\n' "$*"; }
warn() { printf 'setup: warning: %s\n' "$*" >&2; }
stop() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# sha256_is FILE HASH
sha256_is() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$2" ]; }
