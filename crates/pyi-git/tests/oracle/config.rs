//! Configuration files against `git config --list`.

use pyi_git::config::{Config, ConfigError, parse_bool, parse_int};

use crate::repo::{Repo, Rng};

/// What `git config --list -z` prints for these entries.
fn listing(config: &Config) -> Vec<u8> {
    let mut out = Vec::new();
    for e in config.entries() {
        out.extend_from_slice(e.section.as_bytes());
        if let Some(sub) = &e.subsection {
            out.push(b'.');
            out.extend_from_slice(sub);
        }
        if !e.section.is_empty() || e.subsection.is_some() {
            out.push(b'.');
        }
        out.extend_from_slice(e.key.as_bytes());
        if let Some(value) = &e.value {
            out.push(b'\n');
            out.extend_from_slice(value);
        }
        out.push(0);
    }
    out
}

const PIECES: [&str; 46] = [
    "[core]",
    "[core]\n",
    "[Remote \"Origin\"]\n",
    "[a.B]\n",
    "[a.B \"c\"]\n",
    "[x \"q\\\"u\\\\o\\te\"]\n",
    "[s]",
    "[bad",
    "[]",
    "[s \"",
    "key",
    "Key2 = ",
    "k-3=",
    "x = ",
    "y =",
    "1z = a",
    "\n",
    "\n",
    "\n",
    "\n",
    " ",
    "\t",
    "value",
    "two words",
    " spaced  out\t",
    "\"quoted\"",
    "\"",
    "\"a ; b # c\"",
    "; comment",
    "# comment",
    "\\n",
    "\\t",
    "\\b",
    "\\\\",
    "\\\"",
    "\\q",
    "\\\n",
    "true",
    "\r\n",
    "\r",
    "=",
    "\u{e9}",
    "[include]\n",
    "path = x",
    "\u{feff}",
    "\"\" ",
];

#[test]
fn files_are_read_as_git_reads_them() {
    let repo = Repo::new(pyi_git::ObjectFormat::Sha1);
    let mut rng = Rng(40);
    let mut cases: Vec<String> = [
        "",
        "\n",
        "[a]\nb = c",
        "[a]\nb",
        "[a]b=c\n",
        "b = c\n",
        "[a] ; x\n\tb = c ; d\n",
        "[a]\nb = \"c ; d\" e\n",
        "[a]\nb = c \\\n  d\n",
        "[a]\nb =\n",
        "[a]\nb = \"\"\n",
        "[a]\nb = \"x\n",
        "[a]\nb = x  y   z  \n",
        "[a]\nb = \"  x  \" \n",
        "[a \"b\"]\nc = 1\nc = 2\n",
        "[a] [b]\nc\n",
        "[a\"b\"]\nc\n",
        "[a  \"b\"]\nc\n",
        "[a \"b\" ]\nc\n",
        "[a \"b\nc\"]\n",
        "[a]\n; only comment",
        "[a]\nb = c\\",
        "[a]\nb = c  \\\n",
        "[a]\nb =  \\\n  \\\n d",
        "[a]\nb = \"c\\\nd\"\n",
        "\u{feff}[a]\nb\n",
        "[a]\r\nb = c\r\n",
        "[a]\nb = c\rd\n",
        "[a]\nb c\n",
        "[a]\nb\t=\tc\n",
        "[a]\nb=c;d\n",
        "[a]\nb=c\\;d\n",
        "[ a]\nb\n",
        "[a-b.c]\nd\n",
        "[a]\nb = \"a\" \"b\"\n",
    ]
    .map(String::from)
    .to_vec();
    for _ in 0..900 {
        let body: String = (0..=rng.below(8)).map(|_| rng.pick(&PIECES)).collect();
        cases.push(if rng.below(3) == 0 {
            body
        } else {
            format!("[s]\nk = {body}")
        });
    }
    let mut good = 0;
    for case in &cases {
        repo.write("config", case.as_bytes());
        let theirs = repo.run(&["config", "-f", "config", "--no-includes", "--list", "-z"], b"");
        let ours = Config::parse(case.as_bytes());
        assert_eq!(
            ours.is_ok(),
            theirs.status.success(),
            "{case:?} {ours:?} {}",
            String::from_utf8_lossy(&theirs.stderr)
        );
        match ours {
            Ok(config) => {
                good += 1;
                let (a, b) = (listing(&config), theirs.stdout);
                assert_eq!(String::from_utf8_lossy(&a), String::from_utf8_lossy(&b), "{case:?}");
            }
            Err(ConfigError::Line(line)) => {
                let message = String::from_utf8_lossy(&theirs.stderr).into_owned();
                assert!(
                    message.contains(&format!("bad config line {line} ")),
                    "{case:?} {line} {message}"
                );
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(good > 300, "{good}");
}

#[test]
fn the_last_value_wins_and_types_are_gits() {
    let file = b"[core]\n bare = false\n bigFileThreshold = 512m\n[core]\n Bare\n[user]\n name = A \"B\" C\n[remote \"o\"]\n url = 1\n url = 2\n[remote \"p\"]\n url = 3\n";
    let config = Config::parse(file).unwrap();
    assert_eq!(config.get("core", None, "bare"), Some(None));
    assert_eq!(config.boolean("core", None, "BARE"), Ok(Some(true)));
    assert_eq!(config.integer("core", None, "bigfilethreshold"), Ok(Some(512 << 20)));
    assert_eq!(config.value("user", None, "name"), Some(&b"A B C"[..]));
    assert_eq!(config.value("remote", Some(b"o"), "url"), Some(&b"2"[..]));
    assert_eq!(config.all("remote", Some(b"o"), "url").count(), 2);
    assert_eq!(config.subsections("remote"), [b"o", b"p"]);
    assert_eq!(config.value("remote", Some(b"O"), "url"), None);
    let repo = Repo::new(pyi_git::ObjectFormat::Sha1);
    for value in [
        "1",
        "0",
        "-1",
        "1k",
        "2M",
        "3g",
        "",
        "true",
        "Yes",
        "ON",
        "off",
        "NO",
        "False",
        "x",
        "1x",
        "0x10",
        "0X1fk",
        "010",
        "08",
        "0",
        "-0x1",
        "-",
        "k",
        "--1",
        "-9223372036854775808",
        "9223372036854775807",
        "-2147483649",
        "+5",
        " 7",
        "99999999999999999999",
    ] {
        repo.git(&["config", "--replace-all", "--", "t.v", value]);
        let theirs = repo.run(&["config", "--type=int", "t.v"], b"");
        let ours = parse_int(value.as_bytes());
        assert_eq!(ours.is_ok(), theirs.status.success(), "int {value:?}");
        if let Ok(number) = ours {
            assert_eq!(format!("{number}\n").as_bytes(), theirs.stdout);
        }
        let theirs = repo.run(&["config", "--type=bool", "t.v"], b"");
        let ours = parse_bool(Some(value.as_bytes()));
        assert_eq!(ours.is_ok(), theirs.status.success(), "bool {value:?}");
        if let Ok(truth) = ours {
            assert_eq!(format!("{truth}\n").as_bytes(), theirs.stdout);
        }
    }
}
