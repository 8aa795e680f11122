//! `--stat` and the like.

use super::hunks::changes;
use super::patch::contents;
use super::similarity::is_binary;
use super::{Options, Pair, side_name};
use crate::command::quote::quoted;
use crate::command::{Call, Run, say, unavailable};

/// One file's numbers.
pub(crate) struct Stat {
    name: Vec<u8>,
    old_path: Vec<u8>,
    new_path: Vec<u8>,
    renamed: bool,
    added: usize,
    removed: usize,
    /// Sizes of a binary file's versions.
    binary: Option<(usize, usize)>,
}

pub(crate) fn stats(call: &mut Call<'_>, pairs: &[Pair], _options: &Options) -> Run<Vec<Stat>> {
    let mut stats = Vec::with_capacity(pairs.len());
    for pair in pairs {
        crate::command::attributes::check_diff(call, &pair.new_path, false)?;
        let mut stat = Stat {
            name: if pair.renamed {
                rename_name(&pair.old_path, &pair.new_path)
            } else {
                quoted(&pair.new_path)
            },
            old_path: pair.old_path.clone(),
            new_path: pair.new_path.clone(),
            renamed: pair.renamed,
            added: 0,
            removed: 0,
            binary: None,
        };
        let same = side_name(call, pair.old.as_ref())? == side_name(call, pair.new.as_ref())?;
        let (old, new) = contents(call, pair)?;
        if is_binary(&old) || is_binary(&new) {
            if same && !pair.renamed && call.command == "diff" && call.site.is_directory() {
                // Of a file of the work tree git does not know that its content is the same.
                return unavailable("a binary file of which only the mode differs");
            }
            stat.binary = Some(if same { (0, 0) } else { (old.len(), new.len()) });
        } else if !same {
            for change in changes(&old, &new) {
                stat.removed += change.old.len();
                stat.added += change.new.len();
            }
        }
        stats.push(stat);
    }
    Ok(stats)
}

/// `a/{b => c}/d`.
fn rename_name(old: &[u8], new: &[u8]) -> Vec<u8> {
    let (quoted_old, quoted_new) = (quoted(old), quoted(new));
    if quoted_old != old || quoted_new != new {
        return [quoted_old.as_slice(), b" => ", &quoted_new].concat();
    }
    let mut prefix = 0;
    for (at, (a, b)) in old.iter().zip(new).enumerate() {
        if a != b {
            break;
        }
        if *a == b'/' {
            prefix = at + 1;
        }
    }
    // The part at the end begins with a slash, and may share the one that ends the part at the front.
    let shared = prefix.saturating_sub(1);
    let mut suffix = 0;
    let mut at = 0;
    loop {
        let ends = (old.len().checked_sub(at + 1), new.len().checked_sub(at + 1));
        let (Some(a), Some(b)) = ends else { break };
        if a < shared || b < shared || old.get(a) != new.get(b) {
            break;
        }
        at += 1;
        if old.get(a) == Some(&b'/') {
            suffix = at;
        }
    }
    let middle = |path: &[u8]| {
        let end = path.len().saturating_sub(suffix);
        path.get(prefix.min(end)..end.max(prefix.min(end)))
            .unwrap_or_default()
            .to_vec()
    };
    let (a, b) = (middle(old), middle(new));
    let mut out = old.get(..prefix).unwrap_or_default().to_vec();
    let braces = prefix + suffix > 0;
    if braces {
        out.push(b'{');
    }
    say(&mut out, &[&a, b" => ", &b]);
    if braces {
        out.push(b'}');
    }
    out.extend_from_slice(old.get(old.len() - suffix..).unwrap_or_default());
    out
}

pub(crate) fn numbers(call: &mut Call<'_>, stats: &[Stat], zero: bool) {
    for stat in stats {
        let numbers = match stat.binary {
            Some(_) => "-\t-\t".to_owned(),
            None => format!("{}\t{}\t", stat.added, stat.removed),
        };
        if !zero {
            call.line(&[numbers.as_bytes(), &stat.name]);
        } else if stat.renamed {
            say(
                &mut call.out,
                &[numbers.as_bytes(), b"\0", &stat.old_path, b"\0", &stat.new_path, b"\0"],
            );
        } else {
            say(&mut call.out, &[numbers.as_bytes(), &stat.new_path, b"\0"]);
        }
    }
}

/// ` 2 files changed, 3 insertions(+)`.
pub(crate) fn short(call: &mut Call<'_>, stats: &[Stat]) {
    if stats.is_empty() {
        return;
    }
    let text = stats.iter().filter(|stat| stat.binary.is_none());
    let (added, removed) = text.fold((0, 0), |sum, stat| (sum.0 + stat.added, sum.1 + stat.removed));
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let mut line = format!(" {} file{} changed", stats.len(), s(stats.len()));
    if added > 0 || removed == 0 {
        line.push_str(&format!(", {added} insertion{}(+)", s(added)));
    }
    if removed > 0 || added == 0 {
        line.push_str(&format!(", {removed} deletion{}(-)", s(removed)));
    }
    call.line(&[line.as_bytes()]);
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

fn scaled(part: usize, width: usize, whole: usize) -> usize {
    if part == 0 { 0 } else { 1 + part * (width - 1) / whole }
}

pub(crate) fn graph(call: &mut Call<'_>, stats: &[Stat], options: &Options) {
    let (mut name_max, mut change_max, mut binary_width, mut number_width) = (0, 0, 0, 0);
    for stat in stats {
        name_max = name_max.max(stat.name.len());
        match stat.binary {
            Some((old, new)) => {
                binary_width = binary_width.max(14 + digits(old) + digits(new));
                number_width = 3;
            }
            None => change_max = change_max.max(stat.added + stat.removed),
        }
    }
    number_width = number_width.max(digits(change_max));
    let width = options.width.max(16 + 6 + number_width);
    let mut graph = if change_max + 4 > binary_width {
        change_max
    } else {
        binary_width - 4
    };
    let mut name_width = name_max;
    if name_width + number_width + 6 + graph > width {
        let share = (width * 3 / 8).saturating_sub(number_width + 6);
        if graph > share {
            graph = share.max(6);
        }
        if name_width > width - number_width - 6 - graph {
            name_width = width - number_width - 6 - graph;
        } else {
            graph = width - number_width - 6 - name_width;
        }
    }
    for stat in stats {
        let (mut prefix, mut name): (&[u8], &[u8]) = (b"", &stat.name);
        let mut room = name_width;
        if name_width < name.len() {
            prefix = b"...";
            room = room.saturating_sub(3);
            name = name.get(name.len() - room..).unwrap_or(name);
            if let Some(slash) = name.iter().position(|&byte| byte == b'/') {
                name = name.get(slash..).unwrap_or(name);
            }
        }
        let padding = vec![b' '; room.saturating_sub(name.len())];
        say(&mut call.out, &[b" ", prefix, name, &padding, b" |"]);
        if let Some((old, new)) = stat.binary {
            let text = format!(" {:>number_width$}", "Bin");
            call.out.extend_from_slice(text.as_bytes());
            if (old, new) != (0, 0) {
                call.out.extend_from_slice(format!(" {old} -> {new} bytes").as_bytes());
            }
            call.out.push(b'\n');
            continue;
        }
        let (mut added, mut removed) = (stat.added, stat.removed);
        if graph <= change_max && change_max > 0 {
            let mut total = scaled(added + removed, graph, change_max);
            if total < 2 && added > 0 && removed > 0 {
                total = 2;
            }
            if added < removed {
                added = scaled(added, graph, change_max);
                removed = total - added;
            } else {
                removed = scaled(removed, graph, change_max);
                added = total - removed;
            }
        }
        let count = stat.added + stat.removed;
        let text = format!(
            " {count:>number_width$}{}{}{}\n",
            if count > 0 { " " } else { "" },
            "+".repeat(added),
            "-".repeat(removed)
        );
        call.out.extend_from_slice(text.as_bytes());
    }
}

/// What happened to a file as a whole, if something did.
pub(crate) fn summary_line(pair: &Pair) -> Option<Vec<u8>> {
    let mode = |mode: u32| format!("{mode:06o}");
    match (&pair.old, &pair.new) {
        (None, Some(new)) => Some(
            [
                b" create mode ",
                mode(new.mode).as_bytes(),
                b" ",
                &quoted(&pair.new_path),
            ]
            .concat(),
        ),
        (Some(old), None) => Some(
            [
                b" delete mode ",
                mode(old.mode).as_bytes(),
                b" ",
                &quoted(&pair.new_path),
            ]
            .concat(),
        ),
        (Some(old), Some(new)) => {
            let change = format!(" mode change {} => {}", mode(old.mode), mode(new.mode));
            let changed = old.mode != new.mode;
            if pair.renamed {
                let score = format!(" ({}%)", pair.score * 100 / 60_000);
                let mut line = [
                    b" rename ",
                    rename_name(&pair.old_path, &pair.new_path).as_slice(),
                    score.as_bytes(),
                ]
                .concat();
                if changed {
                    say(&mut line, &[b"\n", change.as_bytes()]);
                }
                return Some(line);
            }
            changed.then(|| [change.as_bytes(), b" ", &quoted(&pair.new_path)].concat())
        }
        (None, None) => None,
    }
}
