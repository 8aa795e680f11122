#!/bin/sh
# Cargo runs this in place of rustc (.cargo/config.toml). The program `pyi` is linked statically, where the C library can be: it then starts without a
# loader, which is a fifth of what a short git command costs (docs/design/014-git-commands.md). When it is optimised, what short commands run stands
# side by side (tools/link.sh). Everything else is compiled as it would be.
rustc=$1
shift
case " $* " in
*" --crate-name pyi "*" --crate-type bin "*)
    if [ -f "$(cc -print-file-name=libc.a 2>/dev/null)" ]; then
        set -- "$@" -C target-feature=+crt-static
        case " $* " in
        *" -C linker="* | *" -Clinker="*) ;; # someone's own
        *" opt-level=3 "*) set -- "$@" -C linker-flavor=gcc -C "linker=$(dirname "$0")/link.sh" ;;
        esac
    fi
    ;;
esac
exec "$rustc" "$@"
