//! What agents' repositories rarely are, and some are: odd indexes, work trees beside others, states in the middle of something.

use std::fs;

use crate::scene::Scene;

impl Scene<'_> {
    /// Makes the repository something special, half of the time.
    pub(crate) fn vary(&mut self) {
        let kind = self.dice.roll(60);
        let made = match kind {
            0 | 1 => self.split_index(),
            2 => {
                self.git(&["update-index", "--index-version", "4"]);
                "index-v4"
            }
            3 => self.mark("--skip-worktree", "index-v3 skip-worktree"),
            4 => self.mark("--assume-unchanged", "assume-unchanged"),
            5 | 6 => {
                self.put(b"intended.txt", b"to be\n");
                self.git(&["add", "-N", "intended.txt"]);
                if self.dice.roll(2) == 0 {
                    self.git(&["update-index", "--index-version", "4"]);
                }
                "index-v3 intent-to-add"
            }
            7 => {
                self.git(&["update-index", "--force-untracked-cache"]);
                "untracked-cache"
            }
            8 => {
                self.git(&["sparse-checkout", "set", "src"]);
                "sparse"
            }
            9 | 10 => {
                self.git(&["worktree", "add", "-q", "-f", "../linked"]);
                self.directories.extend(["linked", "linked"]);
                "linked"
            }
            11 => {
                self.git(&["clone", "-q", "--bare", ".", "../bare.git"]);
                self.directories = vec!["bare.git", "bare.git", "project/.git", "project"];
                "bare"
            }
            12 | 13 => self.alternates(),
            14 | 15 => self.conflict(&["merge", "side-of-conflict"], "merge"),
            16 => self.conflict(&["rebase", "-q", "side-of-conflict"], "rebase"),
            17 => self.conflict(&["cherry-pick", "side-of-conflict"], "cherry-pick"),
            18 => {
                self.conflict(&["merge", "-q", "side-of-conflict"], "");
                let _ = fs::remove_file(self.project().join(".git/MERGE_HEAD"));
                "conflict-entries"
            }
            19 => {
                self.git(&["bisect", "start", "HEAD", "HEAD~1"]);
                "bisect"
            }
            20 => {
                self.git(&["checkout", "-q", "--orphan", "fresh"]);
                "unborn"
            }
            21 => {
                self.git(&["checkout", "-q", "-f", "--detach", "HEAD~1"]);
                "detached"
            }
            22 | 23 => {
                self.git(&["pack-refs", "--all"]);
                self.git(&["commit", "-q", "--allow-empty", "-m", "After packing"]);
                self.git(&["tag", "-f", "v1", "HEAD~1"]);
                "packed-refs"
            }
            24 => {
                self.git(&["gc", "-q"]);
                self.git(&["commit-graph", "write", "--reachable"]);
                "commit-graph"
            }
            25 => {
                self.git(&["repack", "-q", "-a", "-d", "--write-midx", "--write-bitmap-index"]);
                "multi-pack-index"
            }
            26 => self.shallow(),
            27 => {
                self.git(&["replace", "-f", "HEAD", "HEAD~1"]);
                "replaced"
            }
            28 => {
                self.git(&["notes", "add", "-m", "A note", "HEAD"]);
                "notes"
            }
            29 => self.submodule(),
            30..=33 => self.settings(),
            34 | 35 => {
                self.git(&["stash"]);
                self.mutate(2);
                self.git(&["stash", "-u"]);
                self.mutate(1);
                "stashes"
            }
            36 | 37 => {
                self.git(&["clone", "-q", "--bare", ".", "../origin"]);
                self.git(&["remote", "add", "origin", "../origin"]);
                self.git(&["fetch", "-q"]);
                self.git(&["branch", "-q", "-u", "origin/main", "main"]);
                self.git(&["commit", "-q", "--allow-empty", "-m", "Ahead"]);
                "remote"
            }
            38 => {
                let hook = self.project().join(".git/hooks");
                fs::create_dir_all(&hook).unwrap();
                "no-hooks"
            }
            _ => "",
        };
        if !made.is_empty() {
            self.kinds.push(made);
        }
        // Below the top, too.
        if kind > 40 && self.project().join("src").is_dir() && !self.project().join("src").is_symlink() {
            self.directories.extend(["project", "project", "project/src"]);
        }
    }

    fn split_index(&mut self) -> &'static str {
        self.git(&["update-index", "--split-index"]);
        self.mutate(2);
        if self.dice.roll(2) == 0 {
            self.git(&["add", "-A"]);
        }
        "split-index"
    }

    fn mark(&mut self, how: &str, kind: &'static str) -> &'static str {
        let listed = self.git(&["ls-files", "-z"]).stdout;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let names: Vec<&str> = listed.split_terminator('\0').collect();
        if names.is_empty() {
            return "";
        }
        let name = names[self.dice.roll(names.len())];
        self.git(&["update-index", how, "--", name]);
        kind
    }

    /// Objects of another repository, which it cannot do without.
    fn alternates(&mut self) -> &'static str {
        self.git(&["clone", "-q", "--bare", ".", "../store.git"]);
        let store = self.world().join("store.git/objects");
        let info = self.project().join(".git/objects/info");
        fs::create_dir_all(&info).unwrap();
        fs::write(info.join("alternates"), format!("{}\n", store.display())).unwrap();
        self.git(&["repack", "-q", "-a", "-d", "-l"]);
        self.git(&["prune-packed", "-q"]);
        "alternates"
    }

    /// Two branches that changed the same line, and a command that stops at it.
    fn conflict(&mut self, command: &[&str], kind: &'static str) -> &'static str {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "Before"]);
        self.git(&["checkout", "-q", "-b", "side-of-conflict"]);
        self.put(b"a.txt", b"one side\n");
        self.git(&["add", "-f", "a.txt"]);
        self.git(&["commit", "-q", "-m", "One side"]);
        self.git(&["checkout", "-q", "-f", "main"]);
        self.put(b"a.txt", b"the other side\n");
        self.git(&["add", "-f", "a.txt"]);
        self.git(&["commit", "-q", "-m", "The other side"]);
        self.git(command);
        kind
    }

    fn shallow(&mut self) -> &'static str {
        let from = format!("file://{}", self.project().display());
        if self
            .git(&["clone", "-q", "--depth=1", &from, "../shallow"])
            .status
            .success()
        {
            self.directories = vec!["shallow"];
        }
        "shallow"
    }

    fn submodule(&mut self) -> &'static str {
        self.git(&["clone", "-q", "--bare", ".", "../part.git"]);
        self.git(&[
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            "../part.git",
            "part",
        ]);
        if self.dice.roll(2) == 0 {
            self.git(&["commit", "-q", "-m", "A part"]);
        }
        "submodule"
    }

    fn settings(&mut self) -> &'static str {
        for _ in 0..=self.dice.roll(2) {
            let setting = self.dice.pick(&[
                "core.quotepath false",
                "core.autocrlf input",
                "core.autocrlf true",
                "core.filemode false",
                "core.symlinks false",
                "core.ignorecase true",
                "core.abbrev 12",
                "core.checkstat minimal",
                "core.preloadindex false",
                "core.logallrefupdates false",
                "status.short true",
                "status.showuntrackedfiles no",
                "status.relativepaths false",
                "diff.renames false",
                "diff.noprefix true",
                "diff.mnemonicprefix true",
                "diff.algorithm patience",
                "log.date iso",
                "log.decorate full",
                "format.pretty oneline",
                "commit.verbose true",
                "commit.cleanup scissors",
                "color.ui always",
                "color.status never",
                "push.default current",
                "pull.rebase true",
                "merge.conflictstyle diff3",
                "user.name Somebody",
                "advice.detachedhead false",
                "advice.statushints false",
                "alias.st status",
                "alias.ci commit",
                "tag.sort -refname",
                "branch.sort -committerdate",
                "column.ui always",
                "index.threads 2",
                "index.skiphash true",
                "gc.auto 0",
                "rerere.enabled true",
                "stash.showpatch true",
                "init.defaultbranch trunk",
                "i18n.commitencoding ISO-8859-1",
                "core.commentchar ;",
                "core.whitespace trailing-space",
            ]);
            let (key, value) = setting.split_once(' ').unwrap();
            let scope = self.dice.pick(&["--local", "--local", "--global"]);
            self.git(&["config", scope, key, value]);
        }
        "settings"
    }
}
