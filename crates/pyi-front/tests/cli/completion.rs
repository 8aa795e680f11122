//! Completion in the shells themselves: each loads the script as `pyi completion --help` says, and is asked what it would offer. The script of zsh
//! and that of fish were generated and never run for long: both offered nothing behind `-C DIR`, and fish files where a verb or a shell belongs.

use std::fs;
use std::path::Path;

use crate::common::{PYI, Place, Said};

/// Lines as typed, and what is offered for the last word.
const LINES: [(&str, &[&str]); 14] = [
    ("pyi fo", &["fork"]),
    ("pyi fsck", &["fsck-store"]),
    ("pyi sta", &["stats"]),
    ("pyi -C / fo", &["fork"]),
    ("pyi --json check", &["checkpoint", "checkpoints"]),
    ("pyi --store x fo", &["fork"]),
    ("pyi fork --f", &["--from"]),
    (
        "pyi changes --",
        &[
            "--exit-code",
            "--help",
            "--json",
            "--patch",
            "--renames",
            "--stat",
            "--store",
        ],
    ),
    ("pyi -C / changes --st", &["--stat", "--store"]),
    ("pyi import --history ", &["full", "lazy"]),
    ("pyi completion z", &["zsh"]),
    ("pyi help re", &["reclaim", "resolve", "restore-backup", "rewind"]),
    ("pyi --js", &["--json"]),
    ("pyi race --he", &["--help"]),
];

/// What COMPREPLY has when bash completes the last word.
const BASH: &str = r#"
source "$1"
[[ $(complete -p pyi) =~ -F\ ([^ ]+) ]] && function=${BASH_REMATCH[1]}
shift
for line; do
    read -ra COMP_WORDS <<<"$line"
    [[ $line == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=${#line} COMPREPLY=()
    "$function" pyi "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\n' "${COMPREPLY[@]}" .
done
"#;

/// Completes in a zsh that sits at a terminal, since its completion runs nowhere else; what it is about to offer goes to a file.
const ZSH: &str = r#"
zmodload zsh/zpty || exit
directory=$1 offered=$2
shift 2
zpty shell zsh -f -i
zpty -w shell "source $offered.rc $directory $offered"
for line; do
    zpty -w -n shell "$line"$'\t'
    zpty -r shell answer $'*\x02*'
    cat $offered
    print .
    zpty -w -n shell $'\x15'
done
zpty -d shell
"#;

const ZSH_AT_A_TERMINAL: &str = r#"
PS1=
fpath=($1 $fpath)
offered=$2
autoload -U compinit
compinit -u -d $offered.dump
compadd() {
    if (( ! ${@[(I)-[OAD]]} )); then
        typeset -a found
        builtin compadd -O found "$@"
        (( $#found )) && print -rl -- $found >>$offered
    fi
    builtin compadd "$@"
}
offer() { : >$offered; _main_complete; print -n $'\x02' }
zle -C offer complete-word offer
bindkey '^I' offer
"#;

const FISH: &str = r#"
for line in $argv
    complete -C $line | string split -f 1 \t
    echo .
end
"#;

/// Puts the script where the help of `pyi completion` says, and gives what the shell offers for each line. The scripts end each with a dot.
fn offers(place: &Place, shell: &str) -> Vec<Vec<String>> {
    let installed = place.path("home").join(match shell {
        "zsh" => ".zfunc/_pyi",
        "fish" => ".config/fish/completions/pyi.fish",
        _ => ".local/share/bash-completion/completions/pyi",
    });
    assert!(place.ok(&["completion", "--help"]).contains(&format!(
        "> ~/{}",
        installed.strip_prefix(place.path("home")).unwrap().display()
    )));
    let directory = installed.parent().unwrap();
    fs::create_dir_all(directory).unwrap();
    fs::write(&installed, place.ok(&["completion", shell])).unwrap();
    place.write("zsh.rc", ZSH_AT_A_TERMINAL);
    place.write("script", if shell == "zsh" { ZSH } else { BASH });
    let (script, offered) = (place.path("script"), place.path("zsh"));
    let mut command = place.command(shell);
    match shell {
        "zsh" => command
            .arg("-f")
            .args([&script, directory, &offered].map(Path::as_os_str)),
        // It finds the file by itself.
        "fish" => command.args(["-c", FISH, "--"]),
        _ => command.arg("--norc").args([&script, &installed]),
    };
    let path = std::env::var("PATH").unwrap();
    let programs = Path::new(PYI).parent().unwrap().display();
    let lines = LINES.map(|(line, _)| line);
    let output = command
        .args(lines)
        .env("PATH", format!("{programs}:{path}"))
        .output()
        .unwrap();
    let said = Said::of(output);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{shell}: {said:?}");
    let text = said.text();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let mut offers: Vec<Vec<String>> = lines
        .split(|line| *line == ".")
        .map(|offer| offer.iter().map(|word| (*word).to_owned()).collect())
        .collect();
    offers.pop();
    offers
}

fn offers_what_fits(shell: &str) {
    let place = Place::new();
    if place.command(shell).arg("--version").output().is_err() {
        eprintln!("skipped: there is no {shell} here");
        return;
    }
    let offers = offers(&place, shell);
    assert_eq!(offers.len(), LINES.len(), "{shell}: {offers:?}");
    for ((line, wanted), mut offer) in LINES.into_iter().zip(offers) {
        offer.sort_unstable();
        assert_eq!(offer, wanted, "{shell}: {line:?}");
    }
}

#[test]
fn bash_offers_what_fits() {
    offers_what_fits("bash");
}

#[test]
fn zsh_offers_what_fits() {
    offers_what_fits("zsh");
}

#[test]
fn fish_offers_what_fits() {
    offers_what_fits("fish");
}
