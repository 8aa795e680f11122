#!/bin/sh
# Links the program `pyi` (tools/rustc.sh names it to rustc as the linker): functions that short commands run come first, side by side. Each 64 KB of
# the program that is touched for the first time costs a page fault; a `status` has 25 fewer (docs/design/001-the-house.md).
# The names are those of tools/first_functions.txt. What follows a name in an object file (a hash that depends on where the crate was built)
# is found there. Without the LLVM linker or nm the order is the linker's own, and nothing else differs.
# What a try says that fails is of no interest where a later one links; where none does, all of them are heard.
list=$(dirname "$0")/first_functions.txt
case " $* " in
*" -fuse-ld=lld "*) ;;
*) exec cc "$@" ;;
esac
work=$(mktemp -d) || exec cc "$@"
trap 'rm -rf "$work"' EXIT
order=$work/order
said=$work/said
for word in "$@"; do
    case $word in
    *.o | *.rlib | *.a) printf '%s\0' "$word" ;;
    esac
done | xargs -0 nm -A --defined-only 2>/dev/null | awk -v list="$list" '
    BEGIN {
        while ((getline name < list) > 0) {
            if (name ~ /^#/) continue
            rank[name] = ++count
            if (name !~ /^_(ZN|R)/) print count, name # of the C library: its name as it is
        }
    }
    NF > 2 && $(NF - 1) ~ /^[tTwW]$/ {
        name = $NF
        sub(/17h[0-9a-f]+E.*$/, "", name)
        sub(/\.llvm\.[0-9]+$/, "", name)
        gsub(/Cs[0-9A-Za-z]+_/, "C_", name)
        if (name in rank && !($NF in seen)) { seen[$NF] = 1; print rank[name], $NF }
    }' | sort -n | cut -d " " -f 2 >"$order"
ordered() {
    cc "$@" "-Wl,--symbol-ordering-file=$order" -Wl,--no-warn-symbol-ordering 2>>"$said"
}
# 7,000 addresses in 2 KB in place of 160. Only a C library from 2022 on can read that: whether this one does is seen when the program starts.
case " $* " in
*" -static-pie "*)
    out=
    before=
    for word in "$@"; do
        if [ "$before" = -o ]; then out=$word; fi
        before=$word
    done
    echo "$0: before, with functions in order and packed addresses:" >>"$said"
    if ordered "$@" -Wl,-z,pack-relative-relocs && "$out" --version >/dev/null 2>>"$said"; then exit 0; fi
    ;;
esac
echo "$0: before, with functions in order:" >>"$said"
ordered "$@" && exit
cc "$@" && exit
status=$?
cat "$said" >&2
exit "$status"
