use super::RefusalKind::{AmbiguousOption, MissingValue, UnexpectedValue, UnknownCommand, UnknownOption};
use super::table::{Table, Value};
use super::{Kind, Parsed, RefusalKind, parse};

fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

/// What a line says, as text: globals, command, options, operands.
fn said(line: &str) -> String {
    let words = words(line);
    let parsed = match parse(&words) {
        Ok(parsed) => parsed,
        Err(refusal) => return format!("{} {}", refusal.kind.name(), String::from_utf8_lossy(refusal.word)),
    };
    let mut out = Vec::new();
    for given in parsed.globals() {
        out.push(one(given));
    }
    out.push(format!(
        "[{}]",
        [parsed.command(), parsed.subcommand()]
            .map(Option::unwrap_or_default)
            .join(" ")
            .trim()
    ));
    let mut operands = 0;
    for given in parsed.given() {
        if given.kind == Kind::Operand {
            if parsed.separator() == Some(operands) {
                out.push("--".into());
            }
            operands += 1;
        }
        out.push(one(given));
    }
    out.join(" ")
}

fn one(given: &super::Given<'_>) -> String {
    let value = given
        .value
        .map(|value| format!("={}", String::from_utf8_lossy(value)))
        .unwrap_or_default();
    match given.kind {
        Kind::Operand => String::from_utf8_lossy(given.word).into_owned(),
        Kind::Option { id, negated } => format!("{}{}{value}", if negated { "!" } else { "+" }, id.name()),
        Kind::Number => format!("+#{value}"),
        Kind::Opaque => format!("?{}", String::from_utf8_lossy(given.word)),
    }
}

#[test]
fn lines_are_taken_apart() {
    for (line, expected) in [
        ("", "[]"),
        ("--exec-path", "+exec-path []"),
        ("status", "[status]"),
        ("status -sb", "[status] +short +branch"),
        (
            "status --porcelain=v2 --branch -uno",
            "[status] +porcelain=v2 +branch +untracked-files=no",
        ),
        (
            "-C a -c b.c=d --git-dir=x --work-tree y -P log",
            "+C=a +c=b.c=d +git-dir=x +work-tree=y +pager [log]",
        ),
        ("--version --build-options", "+version [version] +build-options"),
        ("--help commit", "+help [help] commit"),
        (
            "commit -am text --no-verify -- -a",
            "[commit] +all +message=text !verify -- -a",
        ),
        ("commit -mtext -n --verify", "[commit] +message=text !verify +verify"),
        (
            "commit --message text --no-edit --amend",
            "[commit] +message=text !edit +amend",
        ),
        ("commit --mess=a --all", "[commit] +message=a +all"),
        ("commit --no-mess", "[commit] !message"),
        (
            "commit -Skey -S --gpg-sign x",
            "[commit] +gpg-sign=key +gpg-sign +gpg-sign x",
        ),
        ("log --oneline -20", "[log] +oneline +#=20"),
        (
            "log -n5 -n 6 --max-count 7 --max-count=8",
            "[log] +max-count=5 +max-count=6 +max-count=7 +max-count=8",
        ),
        (
            "log --format=%H -p -U3 --no-merges --since 1.week a..b",
            "[log] +format=%H +patch +unified=3 !merges +since=1.week a..b",
        ),
        (
            "diff -M90% --stat -2 --cached a b -- c",
            "[diff] +find-renames=90% +stat +ours +cached a b -- c",
        ),
        ("checkout -", "[checkout] -"),
        ("checkout -b new origin/main", "[checkout] +b=new origin/main"),
        ("checkout -- a b", "[checkout] -- a b"),
        (
            "rev-parse --short=7 --verify HEAD --odd",
            "[rev-parse] +short=7 +verify HEAD ?--odd",
        ),
        ("stash", "[stash]"),
        ("stash push -m x -- a", "[stash push] +message=x -- a"),
        ("stash -k", "[stash] +keep-index"),
        ("stash list -3 --stat", "[stash list] +#=3 +stat"),
        ("remote -v", "[remote] +verbose"),
        ("remote add -f origin url", "[remote add] +fetch origin url"),
        ("worktree add ../x -b y", "[worktree add] ../x +b=y"),
        ("config user.name --get", "[config] user.name --get"),
        ("config --get user.name", "[config] +get user.name"),
        ("config get user.name --all", "[config get] user.name +all"),
        ("branch --no-merged main -vv", "[branch] !merged=main +verbose +verbose"),
        ("tag -n5 -l v*", "[tag] +n=5 +list v*"),
        ("grep -3 -e x --and -e y -h", "[grep] +#=3 +e=x +and +e=y +h"),
        ("add -h", "[add] +h"),
        ("reset --hard --end-of-options -x", "[reset] +hard -x"),
        ("svn --whatever x", "[svn] ?--whatever x"),
    ] {
        assert_eq!(said(line), expected, "{line}");
    }
}

#[test]
fn wrong_words_are_refused() {
    let refused: [(&str, RefusalKind, &str); 20] = [
        ("frobnicate", UnknownCommand, "frobnicate"),
        ("git", UnknownCommand, "git"),
        ("+diff", UnknownCommand, "+diff"),
        ("--nothing status", UnknownOption, "--nothing"),
        ("--C x status", UnknownOption, "--C"),
        ("-Cx status", UnknownOption, "-Cx"),
        ("-C", MissingValue, "-C"),
        ("--bare=x status", UnexpectedValue, "--bare=x"),
        ("status --frobnicate", UnknownOption, "--frobnicate"),
        ("status -sX", UnknownOption, "-sX"),
        ("status --short=1", UnexpectedValue, "--short=1"),
        ("commit -m", MissingValue, "-m"),
        ("commit --message", MissingValue, "--message"),
        ("commit --no-message=x", UnexpectedValue, "--no-message=x"),
        ("commit --re", AmbiguousOption, "--re"),
        ("commit --no", AmbiguousOption, "--no"),
        // What goes to the parts that log shares knows no abbreviations.
        ("log --onel", UnknownOption, "--onel"),
        ("log --format", MissingValue, "--format"),
        ("diff-tree -rp x", UnknownOption, "-rp"),
        ("stash push --bogus", UnknownOption, "--bogus"),
    ];
    for (line, kind, word) in refused {
        let words = words(line);
        let refusal = parse(&words).map(drop).unwrap_err();
        assert_eq!((refusal.kind, refusal.word), (kind, word.as_bytes()), "{line}");
        assert_eq!(words[refusal.at], word, "{line}");
    }
}

fn given<'a>(words: &'a [&'a str]) -> Parsed<'a> {
    parse(words).unwrap()
}

#[test]
fn the_last_word_counts() {
    let line = words("tag -m a --trailer b --trailer c -m d");
    let parsed = given(&line);
    assert_eq!(parsed.value("message"), Some(&b"d"[..]));
    assert_eq!(parsed.values("trailer").collect::<Vec<_>>(), [b"b", b"c"]);
    let line = words("commit -vv --no-verbose -v --author x --no-author");
    let parsed = given(&line);
    assert_eq!((parsed.times("verbose"), parsed.flag("verbose")), (1, Some(true)));
    assert_eq!((parsed.value("author"), parsed.flag("author")), (None, Some(false)));
    assert!(!parsed.is_on("author") && parsed.flag("amend").is_none());
    let line = words("push -o a -o b --no-push-option -o c");
    assert_eq!(given(&line).values("push-option").collect::<Vec<_>>(), [b"c"]);
}

#[test]
fn every_word_knows_where_it_stands() {
    let line = words("-C a commit -am b --author c d -- e");
    let parsed = given(&line);
    let at = |given: &[super::Given<'_>]| given.iter().map(|given| given.at).collect::<Vec<_>>();
    assert_eq!((at(parsed.globals()), parsed.command_at()), (vec![0], 2));
    assert_eq!(at(parsed.given()), [3, 3, 5, 7, 9]);
}

#[test]
fn tables_are_in_order() {
    let tables: Vec<Table> = Table::all().collect();
    assert!(tables.len() > 200);
    assert!(tables.windows(2).all(|pair| pair[0].name() < pair[1].name()));
    for table in tables {
        assert_eq!(Table::of(table.name().as_bytes()), Some(table));
        let mut last = "";
        for option in table.options() {
            assert!(option.long() >= last, "{table:?} {option:?}");
            last = option.long();
            assert!(
                !option.name().is_empty() && !option.name().contains(' '),
                "{table:?} {option:?}"
            );
            if last.is_empty() {
                assert!(option.short().is_some(), "{table:?}");
            } else {
                assert_eq!(table.long(last.as_bytes()).map(|id| id.long()), Some(last));
            }
            if let Some(letter) = option.short() {
                assert!(
                    letter.is_ascii_alphanumeric() && table.short(letter).is_some(),
                    "{table:?} {option:?}"
                );
            }
        }
    }
    let commit = Table::of(b"commit").unwrap();
    let message = commit.long(b"message").unwrap();
    assert_eq!(
        (message.short(), message.value(), message.is_negatable()),
        (Some(b'm'), Value::Required, true)
    );
    assert_eq!(
        Table::of(b"log").unwrap().sets().map(Table::name).collect::<Vec<_>>(),
        ["+diff", "+rev"]
    );
}
